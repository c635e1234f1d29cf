use oci::{Descriptor, Digest, ImageConfig, MediaType, Platform, Reference};

use super::*;
use crate::PortError;
use crate::attest::{Subject, statement};
use crate::graph::BaseImage;
use crate::lower::{ImageResolver, lower};
use crate::request::StepCount;
use crate::solve::lower_options;

struct AnyImage;

impl ImageResolver for AnyImage {
    fn resolve(&self, reference: &Reference, platform: &Platform) -> Result<BaseImage, PortError> {
        let manifest = Descriptor::of(MediaType::OciManifest, reference.to_string().as_bytes());
        let config = ImageConfig::scratch(platform);
        Ok(BaseImage { reference: reference.clone(), manifest, config, layers: Vec::new() })
    }
}

const DOCKERFILE: &str = "FROM busybox AS tools\n\
RUN --network=none true\n\
FROM reg.example/base:v2\n\
ARG token\n\
ADD --checksum=sha256:24454f830cdb571e2c4ad15481119c43b3cafd48dd869a9b2945d1036d1dc68d https://user:pw@host.example/file /f\n\
RUN --mount=type=secret,id=npm,required --mount=type=ssh echo $token\n\
COPY --from=tools /bin /bin\n";

fn predicate(mode: Mode) -> Value {
    let dockerfile = crate::frontend::parse(DOCKERFILE).unwrap();
    let platform: Platform = "linux/amd64".parse().unwrap();
    let mut request = BuildRequest::new(dockerfile, Some("/context".into()), platform.clone());
    request.build_args.insert("token".to_owned(), "value-of-an-argument".to_owned());
    request.labels.insert("stage".to_owned(), "value-of-a-label".to_owned());
    let options = lower_options(&request, platform.clone());
    let graph = lower(&request.dockerfile, &options, &AnyImage).unwrap();
    let image = BuiltImage {
        platform,
        manifest: Descriptor::of(MediaType::OciManifest, b"manifest"),
        config_descriptor: Descriptor::of(MediaType::OciConfig, b"config"),
        config: graph.config.clone(),
        top: None,
        graph,
        layers: Vec::new(),
        steps: StepCount::default(),
        materials: Vec::new(),
    };
    let provenance = Provenance {
        mode,
        builder: None,
        version: "1.2.3".to_owned(),
        started: "2023-11-14T22:13:20Z".parse().unwrap(),
        finished: "2023-11-14T22:13:21Z".parse().unwrap(),
    };
    let subject = Subject {
        names: vec!["app:v1".parse().unwrap()],
        platform: image.platform.clone(),
        digest: image.manifest.digest().clone(),
    };
    statement(&subject, &provenance.of(&request, &image))
}

/// Covers: BLD-94
#[test]
fn max_tells_arguments_secrets_by_name_and_the_dockerfile() {
    let told = predicate(Mode::Max);
    assert_eq!(told["_type"], STATEMENT);
    assert_eq!(told["predicateType"], PREDICATE_TYPE);
    assert_eq!(told["subject"][0]["name"], "pkg:docker/app@v1?platform=linux%2Famd64");
    assert_eq!(told["subject"][0]["digest"]["sha256"], Digest::sha256(b"manifest").hex());
    let definition = &told["predicate"]["buildDefinition"];
    let request = &definition["externalParameters"]["request"];
    assert_eq!(request["args"]["build-arg:token"], "value-of-an-argument");
    assert_eq!(request["args"]["label:stage"], "value-of-a-label");
    assert_eq!(request["secrets"], json!([{ "id": "npm" }]));
    assert_eq!(request["ssh"], json!([{ "id": "default", "optional": true }]));
    let dependencies = definition["resolvedDependencies"].as_array().unwrap();
    let uris: Vec<&str> = dependencies.iter().map(|d| d["uri"].as_str().unwrap()).collect();
    assert!(uris.contains(&"pkg:docker/busybox@latest?platform=linux%2Famd64"), "{uris:?}");
    assert!(uris.contains(&"pkg:docker/reg.example/base@v2?platform=linux%2Famd64"), "{uris:?}");
    assert!(uris.iter().any(|uri| uri.ends_with("host.example/file")), "{uris:?}");
    assert!(dependencies.iter().all(|d| d["digest"]["sha256"].is_string()), "{dependencies:?}");
    let source = &told["predicate"]["runDetails"]["metadata"]["buildkit_metadata"]["source"];
    let shown = STANDARD.decode(source["infos"][0]["data"].as_str().unwrap()).unwrap();
    assert!(shown.starts_with(b"FROM busybox AS tools\n"));
    assert!(!String::from_utf8(shown).unwrap().contains("user:pw"), "credentials of an address");
    assert!(!told.to_string().contains("user:pw"), "credentials of an address: {told}");
}

const STATEMENT: &str = "https://in-toto.io/Statement/v1";

/// Covers: BLD-94
#[test]
fn min_tells_no_value_no_secret_and_no_dockerfile() {
    let told = predicate(Mode::Min);
    let text = told.to_string();
    for hidden in ["value-of-an-argument", "value-of-a-label", "npm", "echo", "user:pw"] {
        assert!(!text.contains(hidden), "tells {hidden}: {text}");
    }
    assert!(!text.contains("\"source\""), "the Dockerfile: {text}");
    let run = &told["predicate"]["runDetails"];
    assert_eq!(run["builder"]["id"], "urn:wherry:builder");
    assert_eq!(run["metadata"]["startedOn"], "2023-11-14T22:13:20Z");
    // One of the steps had the network of the machine.
    assert_eq!(run["metadata"]["buildkit_hermetic"], false);
    assert_eq!(run["metadata"]["buildkit_completeness"]["resolvedDependencies"], false);
}
