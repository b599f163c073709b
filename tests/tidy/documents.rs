//! What the documents say of the code is true: files, layers, threads, locks, links and commands. And they are readable.

use crate::{code_of, layer_of, name_of, root, sources};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Beyond this a line of prose scrolls sideways. Rows of tables and code may be longer.
const COLUMNS_MAX: usize = 140;

/// What comes before the name of a thread.
const THREAD_STARTS: [&str; 2] = ["threads::spawn(", "Builder::new().name("];

/// Words that make a sentence hard: pronouns without a noun, and old or legal English.
const HARD_WORDS: [&str; 18] = [
    "whoever",
    "whomever",
    "somebody",
    "nobody",
    "anybody",
    "so-manieth",
    "anew",
    "lest",
    "whereof",
    "thereof",
    "is to be told",
    "is to be asked",
    "tell of",
    "tells of",
    "told of",
    "what is told",
    "which see",
    "the same, for",
];

/// Each file once, in its layer; `docs/` has no other list of files that could go stale.
#[test]
fn the_house_lists_each_source_file_once_and_in_its_layer() {
    let architecture = read("ARCHITECTURE.md");
    let house = section(&architecture, "The house");
    let house = house.split("```").nth(1).expect("a listing of the files");
    let mut listed = BTreeMap::new();
    let mut twice = Vec::new();
    let mut layer = 0;
    // The folders that the line is in, with the column of each.
    let mut folders: Vec<(usize, &str)> = Vec::new();
    for line in house.lines().skip(1) {
        let (number, entry) = line.split_at_checked(2).unwrap_or((line, ""));
        if let Ok(number) = number.trim().parse::<usize>() {
            layer = number;
            folders.clear();
        }
        let column = entry.len() - entry.trim_start().len();
        let first = entry.split_whitespace().next().unwrap_or("");
        // Lines that go on with the text of the line above are further in.
        if column < 10 && first.ends_with('/') {
            folders.retain(|(at, _)| *at < column);
            folders.push((column, first));
        } else if column < 10 {
            folders.retain(|(at, _)| *at < column);
        }
        let folder: String = folders.iter().map(|(_, folder)| *folder).collect();
        let is_name = |c: char| c.is_alphanumeric() || "_/.".contains(c);
        let names = entry.split(|c| !is_name(c)).filter(|w| w.ends_with(".rs"));
        for name in names.map(|name| format!("{folder}{name}")) {
            if listed.insert(name.clone(), layer).is_some() {
                twice.push(name);
            }
        }
    }
    let present: BTreeMap<String, usize> = sources()
        .iter()
        .filter(|file| !is_test(&below_src(file)))
        .map(|file| (below_src(file), layer_of(&name_of(file)) + 1))
        .collect();
    let missing: Vec<_> = present
        .iter()
        .filter(|(f, at)| listed.get(*f) != Some(at))
        .collect();
    let gone: Vec<_> = listed
        .keys()
        .filter(|f| !present.contains_key(*f))
        .collect();
    assert!(
        missing.is_empty() && gone.is_empty() && twice.is_empty(),
        "ARCHITECTURE.md, The house: missing or in another layer {missing:?}, no such file {gone:?}, twice {twice:?}"
    );
}

#[test]
fn the_table_of_threads_names_each_thread() {
    let mut started = BTreeSet::new();
    for file in sources() {
        let file = below_src(&file);
        let text = product(&file);
        for start in THREAD_STARTS {
            if file == "os/threads.rs" {
                continue;
            }
            let calls = text.match_indices(start);
            let names = calls.map(|(at, _)| thread_name(&text, &text[at + start.len()..]));
            started.extend(names.map(|name| name.unwrap_or_else(|| panic!("{file}: {start}"))));
        }
    }
    assert!(started.len() > 8, "{started:?}");
    let architecture = read("ARCHITECTURE.md");
    let table = rows(section(&architecture, "Threads"));
    let threads = table.iter().filter(|row| !row[1].contains(".rs"));
    let named: BTreeSet<String> = threads
        .flat_map(|row| code_spans(&row[0]))
        .filter(|name| !name.contains(' '))
        .map(|name| {
            name.trim_end_matches(|c: char| c.is_ascii_digit())
                .to_owned()
        })
        .collect();
    assert_eq!(
        started, named,
        "threads of the code, and of ARCHITECTURE.md"
    );
}

/// The name in the arguments of a call that starts a thread, without its number: a text, the text of a `format!`, or
/// that of a variable. `None` where it is none of these.
fn thread_name(text: &str, arguments: &str) -> Option<String> {
    let first = arguments.trim_start();
    let quoted = |text: &str| {
        let text = text.strip_prefix("format!(").unwrap_or(text);
        let name = text.strip_prefix('"')?.split(['"', '{']).next()?;
        Some(name.to_owned())
    };
    quoted(first).or_else(|| {
        let variable = first
            .split(|c: char| !c.is_alphanumeric() && c != '_')
            .next()?;
        let (_, value) = text.split_once(&format!("let {variable} = "))?;
        quoted(value.trim_start())
    })
}

#[test]
fn the_table_of_locks_names_each_lock() {
    let mut locking = BTreeSet::new();
    for file in sources() {
        let name = below_src(&file);
        let locks = ["Mutex<", "RwLock<", "Condvar,"];
        let is_lock = |line: &str| {
            let declared = line.replace("&Mutex<", "").replace("&'static Mutex<", "");
            locks.iter().any(|lock| declared.contains(lock))
        };
        if !is_test(&name) && code_of(&file).iter().any(|(_, line)| is_lock(line)) {
            locking.insert(name);
        }
    }
    let architecture = read("ARCHITECTURE.md");
    let table = rows(section(&architecture, "Threads"));
    let named: BTreeSet<String> = table
        .iter()
        .filter(|row| row[1].contains(".rs"))
        .flat_map(|row| code_spans(&row[1]))
        .collect();
    assert_eq!(
        locking, named,
        "files with locks, and those of ARCHITECTURE.md"
    );
}

#[test]
fn links_lead_somewhere() {
    let mut broken = Vec::new();
    for document in documents() {
        let text = prose(&read(&document));
        let folder = root().join(&document).parent().unwrap().to_owned();
        for link in text.split("](").skip(1) {
            let link = link.split(')').next().unwrap();
            if link.contains("://") {
                continue;
            }
            let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
            let target = if file.is_empty() {
                root().join(&document)
            } else {
                folder.join(file)
            };
            let found = target.exists() && (anchor.is_empty() || anchors(&target).contains(anchor));
            if !found {
                broken.push(format!("{document}: {link}"));
            }
        }
    }
    assert!(broken.is_empty(), "\n{}", broken.join("\n"));
}

/// `core/table.rs`, `docs/figures.md`, `tests/run`: from the root, from `src`, or from the document's own folder.
#[test]
fn files_that_documents_name_exist() {
    let mut gone = Vec::new();
    for document in documents() {
        let text = read(&document);
        let folder = root().join(&document).parent().unwrap().to_owned();
        let from = [root(), root().join("src"), folder];
        for name in code_spans(&prose(&text)) {
            let plain = |c: char| c.is_ascii_alphanumeric() || "_-./".contains(c);
            let is_file = [".rs", ".md", ".toml", ".lua", ".service"];
            let is_file = is_file.iter().any(|end| name.ends_with(end));
            if is_file && name.chars().all(plain) && !from.iter().any(|f| f.join(&name).exists()) {
                gone.push(format!("{document}: {name}"));
            }
        }
    }
    assert!(gone.is_empty(), "\n{}", gone.join("\n"));
}

#[test]
fn the_readme_has_the_commands_that_there_are() {
    let help = Command::new(env!("CARGO_BIN_EXE_farspan"))
        .arg("help")
        .output()
        .unwrap();
    let help = String::from_utf8(help.stdout).unwrap();
    let commands = help.split("Commands:\n").nth(1).unwrap();
    let commands = commands.lines().take_while(|line| !line.is_empty());
    let mut present: BTreeSet<_> = commands
        .filter_map(|line| line.split_whitespace().next())
        .collect();
    present.insert("help");
    let readme = read("README.md");
    let table = rows(section(&readme, "Commands"));
    let spans = table
        .iter()
        .flat_map(|row| code_spans(&row[0]))
        .collect::<Vec<_>>();
    let named: BTreeSet<_> = spans
        .iter()
        .filter_map(|span| span.strip_prefix("farspan ")?.split(' ').next())
        .collect();
    assert_eq!(
        named, present,
        "commands of README.md, and of `farspan help`"
    );
}

#[test]
fn documents_are_readable() {
    let mut hard = Vec::new();
    for document in documents() {
        let text = read(&document);
        for (number, line) in prose(&text).lines().enumerate() {
            let place = format!("{document}:{}", number + 1);
            let columns = line.chars().count();
            if columns > COLUMNS_MAX && !line.starts_with('|') {
                hard.push(format!("{place}: {columns} columns"));
            }
            let words = format!(
                " {} ",
                line.to_lowercase()
                    .replace(|c: char| !c.is_alphabetic() && !"-',".contains(c), " ")
            );
            let words = words.replace(", ", " , ");
            hard.extend(HARD_WORDS.iter().filter_map(|word| {
                let word = word.replace(", ", " , ");
                words
                    .contains(&format!(" {word} "))
                    .then(|| format!("{place}: \"{word}\""))
            }));
        }
    }
    for (document, lines_max) in [("README.md", 180), ("ARCHITECTURE.md", 300)] {
        let lines = read(document).lines().count();
        if lines > lines_max {
            hard.push(format!("{document}: {lines} lines, more than {lines_max}"));
        }
    }
    assert!(hard.is_empty(), "\n{}", hard.join("\n"));
}

fn read(document: &str) -> String {
    fs::read_to_string(root().join(document)).unwrap()
}

/// The pages for people: not those of recordings that others wrote.
fn documents() -> Vec<String> {
    let mut documents = Vec::new();
    let mut folders = vec![root()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            if path.is_dir() {
                if name != "target" && !name.starts_with('.') {
                    folders.push(path);
                }
            } else if name.ends_with(".md") {
                let path = path.strip_prefix(root()).unwrap();
                documents.push(path.to_str().unwrap().to_owned());
            }
        }
    }
    documents.sort();
    assert!(documents.len() > 10, "{documents:?}");
    documents
}

/// A document without what stands between fences; the lines keep their numbers.
fn prose(text: &str) -> String {
    let mut fenced = false;
    let mut prose = String::new();
    for line in text.lines() {
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
        } else if !fenced {
            prose.push_str(line);
        }
        prose.push('\n');
    }
    prose
}

/// From a heading to the next one of its level.
fn section<'a>(text: &'a str, title: &str) -> &'a str {
    let (_, after) = text
        .split_once(&format!("\n## {title}\n"))
        .unwrap_or_else(|| panic!("no section \"{title}\""));
    after.split("\n## ").next().unwrap()
}

/// The cells of a section's tables, row by row, without their heads.
fn rows(section: &str) -> Vec<Vec<String>> {
    let mut rows: Vec<Vec<String>> = Vec::new();
    for line in section.lines().filter(|line| line.starts_with('|')) {
        if line.starts_with("|---") {
            rows.pop();
            continue;
        }
        let cells = line.trim_matches('|').split('|');
        rows.push(cells.map(|cell| cell.trim().to_owned()).collect());
    }
    rows
}

/// What stands between backticks.
fn code_spans(text: &str) -> Vec<String> {
    let lines = text.lines();
    let spans = lines.flat_map(|line| line.split('`').skip(1).step_by(2));
    spans.map(str::to_owned).collect()
}

/// What a link may name behind its `#`: the headings as GitHub writes them.
fn anchors(document: &Path) -> BTreeSet<String> {
    let text = prose(&fs::read_to_string(document).unwrap());
    let headings = text.lines().filter(|line| line.starts_with('#'));
    headings
        .map(|line| {
            let heading = line.trim_start_matches('#').trim().to_lowercase();
            let kept = heading
                .chars()
                .filter(|c| c.is_alphanumeric() || "_- ".contains(*c));
            kept.map(|c| if c == ' ' { '-' } else { c }).collect()
        })
        .collect()
}

fn below_src(file: &Path) -> String {
    let file = file.strip_prefix(root().join("src")).unwrap();
    file.to_str().unwrap().to_owned()
}

fn is_test(file: &str) -> bool {
    let file = PathBuf::from(file).with_extension("");
    file.components().any(|part| part.as_os_str() == "tests")
}

/// A source file's code as one text, without comments and tests.
fn product(file: &str) -> String {
    if is_test(file) {
        return String::new();
    }
    let lines = code_of(&root().join("src").join(file));
    lines.iter().map(|(_, line)| format!("{line}\n")).collect()
}
