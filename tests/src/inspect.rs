//! Looking at images and containers through `wherry inspect` and `wherry history`.

use serde_json::Value;

use crate::site::Site;

/// A row of `history`, newest first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// The image id, or `<missing>`.
    pub id: String,
    /// The instruction.
    pub created_by: String,
    /// The size as shown.
    pub size: String,
}

impl Site {
    /// `inspect` of one thing.
    #[track_caller]
    pub fn inspect(&self, name: &str) -> Value {
        let run = self.run(&["inspect", name]).ok();
        let mut found = run.json();
        assert_eq!(found.as_array().map(Vec::len), Some(1), "{run}");
        found[0].take()
    }

    /// The full id of an image.
    #[track_caller]
    pub fn image_id(&self, name: &str) -> String {
        self.inspect(name)["Id"].as_str().expect("an image has an id").to_owned()
    }

    /// The diffIDs of an image, base first.
    #[track_caller]
    pub fn layers(&self, name: &str) -> Vec<String> {
        let image = self.inspect(name);
        assert_eq!(image["RootFS"]["Type"], "layers", "{image}");
        let layers = image["RootFS"]["Layers"].as_array().expect("an image has layers");
        layers.iter().map(|layer| layer.as_str().expect("a digest").to_owned()).collect()
    }

    /// `history`, newest first, with whole instructions.
    #[track_caller]
    pub fn history(&self, name: &str) -> Vec<Row> {
        let format = "{{.ID}}|{{.Size}}|{{.CreatedBy}}";
        let run = self.run(&["history", "--no-trunc", "--format", format, name]).ok();
        run.stdout
            .lines()
            .map(|line| {
                let mut parts = line.splitn(3, '|').map(str::to_owned);
                let mut part =
                    || parts.next().unwrap_or_else(|| panic!("no row of history: {line}"));
                Row { id: part(), size: part(), created_by: part() }
            })
            .collect()
    }

    /// `STATUS` of a container as `ps -a` shows it; empty when there is none of the name.
    pub fn status(&self, container: &str) -> String {
        let filter = format!("name=^/?{container}$");
        self.run(&["ps", "-a", "--filter", &filter, "--format", "{{.Status}}"]).out().to_owned()
    }

    /// What a file of an image says, by running `cat` in it.
    #[track_caller]
    pub fn cat(&self, image: &str, file: &str) -> String {
        self.run(&["run", "--rm", "--network", "none", image, "cat", file]).ok().stdout
    }
}
