//! People who sign, and people who ask for signatures.

use std::path::PathBuf;

use crate::http::{self, Answer};
use crate::{Registry, Site};

/// The passphrase of every key that a test makes.
pub const PASSPHRASE: &str = "correct horse battery staple";

/// A machine of somebody who signs: with a passphrase and without anything else.
pub fn machine() -> Site {
    let mut site = Site::new();
    site.set_env("WHERRY_TRUST_PASSPHRASE", PASSPHRASE);
    site
}

/// A publisher with an image in a registry.
pub fn publisher(registry: &Registry) -> Site {
    let mut site = Site::with_busybox();
    site.set_env("WHERRY_TRUST_PASSPHRASE", PASSPHRASE);
    push(&site, registry, "v1");
    site
}

/// Pushes `busybox` as `team/app` under a tag; gives the whole name.
pub fn push(site: &Site, registry: &Registry, tag: &str) -> String {
    let name = registry.name(&format!("team/app:{tag}"));
    site.run(&["tag", "busybox", &name]).ok();
    site.run(&["push", &name]).ok();
    name
}

/// A publisher who has signed `team/app:v1`.
pub fn signed(registry: &Registry) -> Site {
    let site = publisher(registry);
    site.run(&["trust", "init", &registry.name("team/app")]).ok();
    site.run(&["trust", "sign", &registry.name("team/app:v1")]).ok();
    site
}

/// The file of the root that a publisher pinned for its only repository.
pub fn root_of(publisher: &Site) -> Vec<u8> {
    let folder = publisher.path().join("config/trust/roots");
    let mut entries =
        std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let path = entries.next().expect("a pinned root").expect("an entry").path();
    std::fs::read(path).expect("the pinned root")
}

/// Somebody who accepts from `scope` only what stands under this root.
pub fn consumer(scope: &str, root: &[u8], more: &str) -> Site {
    let site = Site::new();
    demand(&site, scope, root, more);
    site
}

/// Makes a site ask for signatures under this root.
pub fn demand(site: &Site, scope: &str, root: &[u8], more: &str) {
    site.write("config/root.json", root);
    site.write(
        "config/policy.toml",
        format!("version = 1\ndefault = \"reject\"\n[[scope]]\nprefix = \"{scope}\"\n[[scope.tuf]]\nroot-file = \"root.json\"\n{more}"),
    );
}

/// Uploads a blob as anybody may who can push.
#[track_caller]
pub fn put_blob(registry: &Registry, repository: &str, bytes: &[u8]) {
    let digest = oci::Digest::sha256(bytes);
    let begun = send(registry, "POST", &format!("/v2/{repository}/blobs/uploads/"), "", b"");
    assert_eq!(begun.status, 202, "{}", begun.text());
    let location = begun.header("location").expect("where to upload").to_owned();
    let at = location.find("/v2/").expect("a path of the registry");
    let glue = if location.contains('?') { '&' } else { '?' };
    let path = format!("{}{glue}digest={digest}", &location[at..]);
    let done = send(registry, "PUT", &path, "application/octet-stream", bytes);
    assert_eq!(done.status, 201, "{}", done.text());
}

/// Writes an OCI manifest under a tag or digest.
#[track_caller]
pub fn put_manifest(registry: &Registry, repository: &str, reference: &str, bytes: &[u8]) {
    let path = format!("/v2/{repository}/manifests/{reference}");
    let done = send(registry, "PUT", &path, "application/vnd.oci.image.manifest.v1+json", bytes);
    assert_eq!(done.status, 201, "{}", done.text());
}

fn send(registry: &Registry, method: &str, path: &str, kind: &str, body: &[u8]) -> Answer {
    http::request(registry.address(), method, path, &[("Content-Type", kind)], body)
        .unwrap_or_else(|error| panic!("{method} {path}: {error}"))
}

/// A person whose key lives in a device of its own: a program that signs with it.
pub struct Holder {
    /// The public half.
    pub public: PathBuf,
    helper: PathBuf,
}

impl Holder {
    /// A new key and its program, below a site's folder.
    pub fn new(site: &Site, name: &str) -> Self {
        let script = format!(
            "openssl ecparam -name prime256v1 -genkey -noout -out {name}.key\n\
             openssl pkey -in {name}.key -pubout -out {name}.pub"
        );
        site.shell(&script).ok();
        let key = site.path().join(format!("{name}.key"));
        let helper = site
            .write(&format!("{name}-device"), HELPER.replace("KEY", &key.display().to_string()));
        site.shell(&format!("chmod 755 {}", helper.display())).ok();
        Self { public: site.path().join(format!("{name}.pub")), helper }
    }

    /// What `--signer` takes.
    pub fn signer(&self) -> String {
        format!("exec:{}", self.helper.display())
    }

    /// What `--holder` takes.
    pub fn named(&self, name: &str) -> String {
        format!("{name}={}", self.public.display())
    }
}

/// A signer helper (`docs/format/signer-helper.md`) with the tools that every machine has.
const HELPER: &str = r#"#!/bin/sh
read -r request
case "$request" in
*'"request":"public"'*)
  pem=$(openssl pkey -in KEY -pubout | sed ':a;N;$!ba;s/\n/\\n/g')
  printf '{"public":{"keytype":"ecdsa","scheme":"ecdsa-sha2-nistp256","keyval":{"public":"%s\\n"}}}\n' "$pem" ;;
*'"request":"sign"'*)
  message=$(printf '%s' "$request" | sed 's/.*"message":"\([^"]*\)".*/\1/')
  signature=$(printf '%s' "$message" | base64 -d | openssl dgst -sha256 -sign KEY | base64 -w0)
  printf '{"signature":"%s"}\n' "$signature" ;;
*) exit 1 ;;
esac
"#;
