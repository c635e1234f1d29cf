//! What `wherry trust inspect` shows: signatures, signers and administrative keys.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::tuf::{RELEASES, Repository, RoleName, tags_of};

/// A repository's trust data, in the shape and with the field names of `docker trust inspect`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Inspection {
    /// The reference that was asked for.
    pub name: String,
    /// Tags that count, sorted.
    pub signed_tags: Vec<SignedTag>,
    /// Signers and their keys, sorted.
    pub signers: Vec<KeyHolder>,
    /// Root and repository keys.
    pub administrative_keys: Vec<KeyHolder>,
}

/// One row of the table of signatures.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct SignedTag {
    /// The tag.
    pub signed_tag: String,
    /// The digest's hex without its algorithm, as Docker prints it.
    pub digest: String,
    /// Who signed it; `Repo Admin` where it stands in the repository's own role.
    pub signers: Vec<String>,
}

/// Somebody and their keys.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct KeyHolder {
    /// The signer's name, `Root` or `Repository`.
    pub name: String,
    /// The keys.
    pub keys: Vec<HeldKey>,
}

/// One key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct HeldKey {
    /// Its id, 64 hex digits.
    #[serde(rename = "ID")]
    pub id: String,
}

/// The signer shown for tags in the repository's own role.
const REPO_ADMIN: &str = "Repo Admin";

/// Reads what there is to show; `tag` narrows the signatures to one.
///
/// A tag counts if it stands in `targets` or in `targets/releases`; a signer who signed it only in
/// their own role is not enough.
pub fn inspect(name: &str, repository: &Repository, tag: Option<&str>) -> Inspection {
    let mut rows: BTreeMap<String, SignedTag> = BTreeMap::new();
    let signers = repository.signers();
    let listed = |role: &str| {
        let role = RoleName::new(role).ok();
        let targets = role.and_then(|role| repository.role(&role));
        targets.map(|targets| tags_of(repository.name(), targets)).unwrap_or_default()
    };
    let wanted = |found: &str| tag.is_none_or(|tag| tag == found);
    for tag in listed(RELEASES).into_iter().filter(|tag| wanted(&tag.name)) {
        let digest = tag.digest.hex().to_owned();
        rows.insert(tag.name.clone(), SignedTag { signed_tag: tag.name, digest, signers: vec![] });
    }
    for (signer, _) in &signers {
        for tag in listed(&format!("targets/{signer}")) {
            let row = rows.get_mut(&tag.name).filter(|row| row.digest == tag.digest.hex());
            if let Some(row) = row {
                row.signers.push(signer.clone());
            }
        }
    }
    // The repository's own role comes first in a client's search.
    for tag in listed("targets").into_iter().filter(|tag| wanted(&tag.name)) {
        let digest = tag.digest.hex().to_owned();
        let signers = vec![REPO_ADMIN.to_owned()];
        rows.insert(tag.name.clone(), SignedTag { signed_tag: tag.name, digest, signers });
    }
    let mut holders: Vec<KeyHolder> = signers
        .iter()
        .map(|(name, _)| holder(name, &format!("targets/{name}"), repository))
        .collect();
    holders.sort_by(|a, b| a.name.cmp(&b.name));
    Inspection {
        name: name.to_owned(),
        signed_tags: rows.into_values().collect(),
        signers: holders,
        administrative_keys: vec![
            holder("Root", "root", repository),
            holder("Repository", "targets", repository),
        ],
    }
}

fn holder(name: &str, role: &str, repository: &Repository) -> KeyHolder {
    let keys = RoleName::new(role).map(|role| repository.keys_of(&role)).unwrap_or_default();
    let mut keys: Vec<HeldKey> =
        keys.into_iter().map(|key| HeldKey { id: key.id().to_string() }).collect();
    keys.sort_by(|a, b| a.id.cmp(&b.id));
    KeyHolder { name: name.to_owned(), keys }
}

impl Inspection {
    /// `--pretty`: Docker's sections and columns.
    pub fn pretty(&self) -> String {
        let mut text = if self.signed_tags.is_empty() {
            format!("\nNo signatures for {}\n\n", self.name)
        } else {
            let rows = self.signed_tags.iter().map(|row| {
                let signers = match row.signers.as_slice() {
                    [admin] if admin == REPO_ADMIN => "(Repo Admin)".to_owned(),
                    names => names.join(", "),
                };
                vec![row.signed_tag.clone(), row.digest.clone(), signers]
            });
            let table = table(&["SIGNED TAG", "DIGEST", "SIGNERS"], rows.collect());
            format!("\nSignatures for {}\n\n{table}\n", self.name)
        };
        if !self.signers.is_empty() {
            let rows = self.signers.iter().map(|signer| {
                let keys: Vec<&str> = signer.keys.iter().map(|key| short(&key.id)).collect();
                vec![signer.name.clone(), keys.join(", ")]
            });
            let table = table(&["SIGNER", "KEYS"], rows.collect());
            text.push_str(&format!(
                "List of signers and their keys for {}\n\n{table}\n",
                self.name
            ));
        }
        text.push_str(&format!("Administrative keys for {}\n\n", self.name));
        for (label, name) in [("Repository Key", "Repository"), ("Root Key", "Root")] {
            for holder in self.administrative_keys.iter().filter(|holder| holder.name == name) {
                for key in &holder.keys {
                    text.push_str(&format!("  {label}:\t{}\n", key.id));
                }
            }
        }
        text
    }
}

fn short(id: &str) -> &str {
    id.get(..12).unwrap_or(id)
}

/// Columns padded to their widest cell and three spaces, as Docker's tabwriter does.
fn table(header: &[&str], rows: Vec<Vec<String>>) -> String {
    let mut lines: Vec<Vec<String>> = vec![header.iter().map(|cell| (*cell).to_owned()).collect()];
    lines.extend(rows);
    let widths: Vec<usize> = (0..header.len())
        .map(|column| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or(0))
        .collect();
    let mut text = String::new();
    for line in lines {
        let mut row = String::new();
        for (cell, width) in line.iter().zip(&widths) {
            row.push_str(&format!("{cell:<pad$}", pad = width + 3));
        }
        text.push_str(row.trim_end());
        text.push('\n');
    }
    text
}
