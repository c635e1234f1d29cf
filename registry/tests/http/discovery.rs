//! "Listing Tags", "Listing Referrers", and the catalog.

use oci::Digest;
use serde_json::{Value, json};

use crate::site::{OCI_INDEX, OCI_MANIFEST, Site, descriptor, digest_of};

fn strings(value: &Value) -> Vec<&str> {
    value.as_array().expect("a list").iter().map(|v| v.as_str().expect("text")).collect()
}

/// Covers: DST-21
#[tokio::test]
async fn tags_are_listed_in_the_order_of_their_bytes() {
    let site = Site::start();
    site.get("/v2/none/tags/list").await.refused(404, "NAME_UNKNOWN");
    let manifest = site.image("a", "x").await;
    for tag in ["b", "B", "a10", "a2", "_z", "0"] {
        site.put_manifest("a", tag, &manifest).await.is(201);
    }
    let listed = site.get("/v2/a/tags/list").await.is(200);
    assert_eq!(listed.header("content-type"), "application/json");
    assert_eq!(listed.json()["name"], "a");
    assert_eq!(strings(&listed.json()["tags"]), ["0", "B", "_z", "a10", "a2", "b"]);
    assert_eq!(listed.header("link"), "");
}

/// Covers: DST-21
#[tokio::test]
async fn tags_are_paged_by_n_last_and_link() {
    let site = Site::start();
    let manifest = site.image("a/b", "x").await;
    for tag in ["t1", "t2", "t3", "t4", "t5"] {
        site.put_manifest("a/b", tag, &manifest).await.is(201);
    }
    let table: [(&str, &[&str], bool); 9] = [
        ("n=2", &["t1", "t2"], true),
        ("n=5", &["t1", "t2", "t3", "t4", "t5"], false),
        ("n=50", &["t1", "t2", "t3", "t4", "t5"], false),
        ("n=2&last=t3", &["t4", "t5"], false),
        ("n=1&last=t3", &["t4"], true),
        ("last=t3", &["t4", "t5"], false),
        ("last=t25", &["t3", "t4", "t5"], false),
        ("last=zz", &[], false),
        ("n=0", &[], false),
    ];
    for (query, expected, more) in table {
        let page = site.get(&format!("/v2/a/b/tags/list?{query}")).await.is(200);
        assert_eq!(strings(&page.json()["tags"]), expected, "{query}");
        assert_eq!(page.header("link").is_empty(), !more, "{query}: {}", page.header("link"));
    }
    let (mut path, mut all) = ("/v2/a/b/tags/list?n=2".to_owned(), Vec::new());
    loop {
        let page = site.get(&path).await.is(200);
        all.extend(strings(&page.json()["tags"]).into_iter().map(str::to_owned));
        let Some(next) =
            page.header("link").strip_prefix('<').and_then(|l| l.strip_suffix(">; rel=\"next\""))
        else {
            break;
        };
        path = next.to_owned();
    }
    assert_eq!(all, ["t1", "t2", "t3", "t4", "t5"]);
    for bad in ["n=-1", "n=x", "n=1.5"] {
        assert_eq!(site.get(&format!("/v2/a/b/tags/list?{bad}")).await.status, 400);
    }
}

#[tokio::test]
async fn a_repository_without_tags_has_an_empty_list() {
    let site = Site::start();
    site.push_blob("a", b"only a blob").await;
    assert_eq!(
        site.get("/v2/a/tags/list").await.is(200).json(),
        json!({ "name": "a", "tags": [] })
    );
}

/// Covers: DST-19
#[tokio::test]
async fn referrers_are_an_index_that_is_never_404() {
    let site = Site::start();
    let nothing = Digest::sha256(b"nothing");
    let empty = json!({ "schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [] });
    for name in ["never/pushed", "a"] {
        let answer = site.get(&format!("/v2/{name}/referrers/{nothing}")).await.is(200);
        assert_eq!(answer.header("content-type"), OCI_INDEX);
        assert_eq!(answer.json(), empty);
        assert_eq!(answer.header("oci-filters-applied"), "");
        site.push_blob("a", b"x").await;
    }
}

/// Covers: DST-19, DST-46, DST-48
#[tokio::test]
async fn referrers_show_type_size_and_annotations_and_can_be_filtered() {
    let site = Site::start();
    let subject = site.push_image("a", "v1", "x").await;
    let subject_size = site.get("/v2/a/manifests/v1").await.body.len();
    let about = json!({ "mediaType": OCI_MANIFEST, "digest": subject, "size": subject_size });
    site.push_blob("a", b"{}").await;
    let empty = descriptor("application/vnd.oci.empty.v1+json", b"{}");
    let artifact = json!({
        "schemaVersion": 2, "mediaType": OCI_MANIFEST, "artifactType": "application/vnd.example.sbom+json",
        "config": empty, "layers": [empty], "subject": about, "annotations": { "k": "ü", "org.example": "v" },
    });
    let mut by_config = site.image("a", "y").await;
    by_config["subject"] = about.clone();
    let index =
        json!({ "schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [], "subject": about });
    for manifest in [&artifact, &by_config, &index] {
        let put = site.put_manifest("a", &digest_of(manifest).to_string(), manifest).await.is(201);
        assert_eq!(put.header("oci-subject"), subject.to_string());
    }
    let path = format!("/v2/a/referrers/{subject}");
    let all = site.get(&path).await.is(200).json();
    let find = |digest: Digest| {
        let entries = all["manifests"].as_array().expect("a list");
        entries.iter().find(|d| d["digest"] == digest.to_string()).expect("an entry").clone()
    };
    assert_eq!(all["manifests"].as_array().map(Vec::len), Some(3));
    let entry = find(digest_of(&artifact));
    assert_eq!(entry["artifactType"], "application/vnd.example.sbom+json");
    assert_eq!(entry["annotations"], artifact["annotations"]);
    assert_eq!(entry["size"], artifact.to_string().len());
    assert_eq!(
        find(digest_of(&by_config))["artifactType"],
        "application/vnd.oci.image.config.v1+json"
    );
    let entry = find(digest_of(&index));
    assert_eq!((entry["mediaType"].as_str(), entry.get("artifactType")), (Some(OCI_INDEX), None));
    for filter in ["application/vnd.example.sbom%2Bjson", "application/vnd.example.sbom+json"] {
        let some = site.get(&format!("{path}?artifactType={filter}")).await.is(200);
        assert_eq!(some.header("oci-filters-applied"), "artifactType");
        assert_eq!(some.json()["manifests"].as_array().map(Vec::len), Some(1), "{filter}");
        assert_eq!(some.json()["manifests"][0]["digest"], digest_of(&artifact).to_string());
    }
    let none = site.get(&format!("{path}?artifactType=x/y")).await.is(200);
    assert_eq!(
        (none.header("oci-filters-applied"), &none.json()["manifests"]),
        ("artifactType", &json!([]))
    );
    // Another repository's referrers are its own.
    assert_eq!(
        site.get(&format!("/v2/b/referrers/{subject}")).await.json()["manifests"],
        json!([])
    );
}

#[tokio::test]
async fn referrers_pushed_at_once_are_all_listed() {
    let site = std::sync::Arc::new(Site::start());
    let subject = site.push_image("a", "v1", "x").await;
    let image = site.image("a", "y").await;
    let pushes: Vec<_> = (0..24)
        .map(|at| {
            let (site, subject, mut manifest) = (site.clone(), subject.clone(), image.clone());
            tokio::spawn(async move {
                manifest["subject"] =
                    json!({ "mediaType": OCI_MANIFEST, "digest": subject, "size": 1 });
                manifest["annotations"] = json!({ "at": at.to_string() });
                site.put_manifest("a", &digest_of(&manifest).to_string(), &manifest).await.is(201);
            })
        })
        .collect();
    for push in pushes {
        push.await.expect("pushed");
    }
    let listed = site.get(&format!("/v2/a/referrers/{subject}")).await.json();
    assert_eq!(listed["manifests"].as_array().map(Vec::len), Some(24));
}

/// Covers: DST-19
#[tokio::test]
async fn many_referrers_come_in_pages_that_clients_accept() {
    let site = Site::start();
    let subject = site.push_image("a", "v1", "x").await;
    let image = site.image("a", "y").await;
    for at in 0..4 {
        let mut manifest = image.clone();
        manifest["subject"] = json!({ "mediaType": OCI_MANIFEST, "digest": subject, "size": 1 });
        manifest["annotations"] = json!({ "at": at.to_string(), "fill": "x".repeat(1_500_000) });
        site.put_manifest("a", &digest_of(&manifest).to_string(), &manifest).await.is(201);
    }
    let artifact_type = "application%2Fvnd.oci.image.config.v1%2Bjson";
    let (mut path, mut seen, mut pages) =
        (format!("/v2/a/referrers/{subject}?artifactType={artifact_type}"), Vec::new(), 0);
    loop {
        let page = site.get(&path).await.is(200);
        assert!(page.body.len() <= 4 * 1024 * 1024, "{}", page.body.len());
        assert_eq!(page.header("oci-filters-applied"), "artifactType");
        let listed = page.json();
        seen.extend(
            listed["manifests"].as_array().expect("a list").iter().map(|d| d["digest"].to_string()),
        );
        pages += 1;
        let Some(next) =
            page.header("link").strip_prefix('<').and_then(|l| l.strip_suffix(">; rel=\"next\""))
        else {
            break;
        };
        path = next.to_owned();
    }
    seen.sort();
    seen.dedup();
    assert_eq!((seen.len(), pages), (4, 2));
}

/// Covers: DST-22
#[tokio::test]
async fn the_catalog_lists_repositories_in_pages() {
    let site = Site::start();
    assert_eq!(site.get("/v2/_catalog").await.is(200).json(), json!({ "repositories": [] }));
    for name in ["b", "a/x", "a", "c/d/e"] {
        site.push_blob(name, b"x").await;
    }
    let all = site.get("/v2/_catalog").await.is(200).json();
    assert_eq!(strings(&all["repositories"]), ["a", "a/x", "b", "c/d/e"]);
    let page = site.get("/v2/_catalog?n=2&last=a").await.is(200);
    assert_eq!(strings(&page.json()["repositories"]), ["a/x", "b"]);
    assert_eq!(page.header("link"), "</v2/_catalog?n=2&last=b>; rel=\"next\"");
}
