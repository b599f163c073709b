//! docs/public-api.txt lists everything that is public in the library. SemVer holds for it: a line that goes away or changes
//! is a new major version (before 1.0 a new minor one). `UPDATE_EXPECT=1 cargo test --test tidy face` writes it again.

use crate::{code_of, name_of, root, sources};
use expect_test::expect_file;
use std::fs;

#[test]
fn the_listing_of_the_face_is_what_is_public() {
    let library = fs::read_to_string(root().join("src/lib.rs")).unwrap();
    let exported = exported(&library);
    assert!(exported.len() > 20, "{exported:?}");
    let mut listing = String::from("pub const VERSION: &str;\n");
    for file in sources() {
        let name = name_of(&file);
        if name == "embed" || name.starts_with("embed/") {
            let lines: Vec<String> = code_of(&file).into_iter().map(|(_, line)| line).collect();
            listing += &public_items(&lines, &exported);
        }
    }
    for name in &exported {
        let is_listed = ["struct ", "enum ", "fn "]
            .iter()
            .any(|kind| listing.contains(&format!("pub {kind}{name}")));
        assert!(
            is_listed,
            "{name} is exported by src/lib.rs and not in src/embed"
        );
    }
    expect_file!["../../docs/public-api.txt"].assert_eq(&listing);
}

/// The names in `pub use embed::{..};`.
fn exported(library: &str) -> Vec<String> {
    let (_, behind) = library.split_once("pub use embed::{").unwrap();
    let (names, behind) = behind.split_once("};").unwrap();
    assert!(!behind.contains("pub use"), "one list of what is public");
    let names = names.split(',').map(str::trim);
    names
        .filter(|name| !name.is_empty())
        .map(str::to_owned)
        .collect()
}

/// Types with their public fields, signatures of methods, and traits. `lines` are formatted by rustfmt.
fn public_items(lines: &[String], exported: &[String]) -> String {
    let mut listing = String::new();
    let mut attributes = String::new();
    let mut at = 0;
    while at < lines.len() {
        let line = &lines[at];
        let text = line.trim_start();
        let indent = &line[..line.len() - text.len()];
        at += 1;
        if text.starts_with("#[") {
            attributes += &format!("{line}\n");
            continue;
        }
        let item_end = lines[at..]
            .iter()
            .position(|it| *it == format!("{indent}}}"));
        if text.starts_with("pub struct") || text.starts_with("pub enum") {
            listing += &format!("\n{attributes}{}\n", without_private_tuple(line));
            if line.ends_with('{') {
                let end = at + item_end.unwrap();
                let is_public =
                    |it: &&String| text.starts_with("pub enum") || it.contains("    pub ");
                let members = lines[at..end].iter().filter(is_public);
                listing.extend(members.map(|it| format!("{it}\n")));
                listing += "}\n";
                at = end + 1;
            }
        } else if text.starts_with("pub fn") {
            let end = at - 1
                + lines[at - 1..]
                    .iter()
                    .position(|it| it.ends_with('{'))
                    .unwrap();
            let signature: Vec<&str> = lines[at - 1..=end].iter().map(|it| it.trim()).collect();
            let signature = signature.join(" ").trim_end_matches(" {").to_owned();
            listing += &format!("{attributes}{indent}{signature};\n");
            at = end + 1;
        } else if text.starts_with("impl") && is_of_face(text, exported) {
            listing += &format!("{}\n", text.trim_end_matches(" {").trim_end_matches(" {}"));
        } else if text.starts_with("type ") && !indent.is_empty() {
            listing += &format!("{line}\n");
        }
        attributes.clear();
    }
    listing
}

fn without_private_tuple(line: &str) -> String {
    match line.split_once('(') {
        Some((head, inside)) if !inside.starts_with("pub ") => format!("{head}(..);"),
        _ => line.to_owned(),
    }
}

/// Whether both the type and what the trait is about are public.
fn is_of_face(text: &str, exported: &[String]) -> bool {
    const OF_STD: [&str; 5] = ["&str", "String", "i64", "f64", "bool"];
    let is_known = |name: &str| OF_STD.contains(&name) || exported.iter().any(|it| it == name);
    let text = text.trim_end_matches(" {").trim_end_matches(" {}");
    let subject = text.rsplit(' ').next().unwrap();
    let about = text
        .split_once("From<")
        .and_then(|(_, rest)| rest.split_once('>'));
    is_known(subject) && about.is_none_or(|(about, _)| is_known(about))
}
