//! Package URLs: one way to name an image or a package of any kind (purl-spec).

use oci::{Platform, Reference};

/// An image, as BuildKit names it: `pkg:docker/busybox@latest?platform=linux%2Famd64`.
pub fn image(reference: &Reference, platform: &Platform) -> String {
    let repository = reference.familiar_repository();
    let path: Vec<String> = repository.split('/').map(encoded).collect();
    let version = reference.tag().unwrap_or("latest");
    let mut text = format!("pkg:docker/{}@{}?", path.join("/"), encoded(version));
    if let Some(digest) = reference.digest() {
        text.push_str(&format!("digest={digest}&"));
    }
    text + "platform=" + &encoded(&platform.to_string())
}

/// A package: its type, its namespace where it has one, name, version and qualifiers.
pub fn package(
    kind: &str,
    namespace: Option<&str>,
    name: &str,
    version: &str,
    qualifiers: &[(&str, &str)],
) -> String {
    let mut text = format!("pkg:{kind}/");
    if let Some(namespace) = namespace {
        text.push_str(&encoded(namespace));
        text.push('/');
    }
    text.push_str(&encoded(name));
    if !version.is_empty() {
        text.push('@');
        text.push_str(&encoded(version));
    }
    let qualifiers: Vec<String> = qualifiers
        .iter()
        .filter(|(_, value)| !value.is_empty())
        .map(|(key, value)| format!("{key}={}", encoded(value)))
        .collect();
    if !qualifiers.is_empty() {
        text.push('?');
        text.push_str(&qualifiers.join("&"));
    }
    text
}

/// Percent-encodes everything but letters, digits and `.-_~` (purl-spec, "Character encoding").
fn encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'.' | b'-' | b'_' | b'~' => {
                out.push(char::from(byte));
            }
            other => out.push_str(&format!("%{other:02X}")),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_and_packages_are_named_as_the_specification_shows() {
        let platform: Platform = "linux/arm/v7".parse().unwrap();
        let named = |text: &str| image(&text.parse().unwrap(), &platform);
        assert_eq!(named("busybox"), "pkg:docker/busybox@latest?platform=linux%2Farm%2Fv7");
        assert_eq!(
            named("reg:5000/team/app:v1"),
            "pkg:docker/reg%3A5000/team/app@v1?platform=linux%2Farm%2Fv7"
        );
        let deb = package(
            "deb",
            Some("debian"),
            "libstdc++6",
            "1:2.0-1+b1",
            &[("arch", "amd64"), ("distro", "")],
        );
        assert_eq!(deb, "pkg:deb/debian/libstdc%2B%2B6@1%3A2.0-1%2Bb1?arch=amd64");
        let npm = package("npm", Some("@scope"), "name", "1.0.0", &[]);
        assert_eq!(npm, "pkg:npm/%40scope/name@1.0.0");
    }
}
