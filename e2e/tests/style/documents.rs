//! What the documents name is there: each path, each `path::name`, and each link to a file.
//!
//! A path stands in backticks and is relative to the root, or to a directory above the path that was
//! named before it in the same paragraph, or to the `src` of one: `store/`, then
//! `limits.rs::MAX_KEY_BYTES`, then `::MAX_VALUE_BYTES` of the same file. In capitals is what a reader
//! puts in: `api/src/GROUP/KIND.rs`.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use syn::visit::Visit;

use crate::{assert_none, listed_files, root};

/// The one page stays one page.
const MAX_ARCHITECTURE_BYTES: usize = 25_600;
/// What ends so in a document is one of our files.
const EXTENSIONS: &[&str] = &["rs", "md", "sh", "toml", "proto"];
/// The questions that ARCHITECTURE.md answers in one line, each with a path.
const QUESTIONS: &[&str] = &[
    "where a packet's fate is decided",
    "where a Service's default comes from",
    "where a watch ends with 410",
    "where a new kind goes",
];

fn documents() -> Vec<PathBuf> {
    let listed = listed_files("*.md").into_iter().filter(|path| {
        let folder = path.parent().unwrap_or(Path::new(""));
        folder == Path::new("") || folder == Path::new("e2e") || folder.starts_with("docs")
    });
    listed.collect()
}

/// Looks things up in the tree, each file once.
#[derive(Default)]
struct Sources {
    names: BTreeMap<PathBuf, Vec<String>>,
}

impl Sources {
    /// The names that a Rust file defines, at whatever depth.
    fn defines(&mut self, file: &Path, name: &str) -> bool {
        let names = self.names.entry(file.to_owned()).or_insert_with(|| {
            let text = std::fs::read_to_string(root().join(file)).unwrap_or_default();
            let mut defined = Defined::default();
            if let Ok(syntax) = syn::parse_file(&text) {
                defined.visit_file(&syntax);
            }
            defined.names
        });
        names.iter().any(|known| known == name)
    }

    /// What a mention is about, where it is there. `before`: the path that was named before.
    fn find(&mut self, mention: &str, before: &Path) -> Option<PathBuf> {
        let mut parts = mention.split("::");
        let path = parts.next().unwrap_or_default().trim_end_matches('/');
        let names: Vec<&str> = parts.collect();
        let candidates: Vec<_> = match path {
            "" => vec![before.to_owned()],
            path => {
                let folders =
                    before.ancestors().flat_map(|above| [above.into(), above.join("src")]);
                folders.map(|folder: PathBuf| folder.join(path)).collect()
            }
        };
        candidates.into_iter().find(|candidate| {
            root().join(candidate).exists()
                && names.iter().all(|name| self.defines(candidate, name))
        })
    }

    /// The mentions of a text that lead nowhere, with their lines.
    fn wrong(&mut self, text: &str) -> Vec<(usize, String)> {
        let mut wrong = Vec::new();
        let mut before = PathBuf::new();
        let mut fenced = false;
        for (number, line) in text.lines().enumerate() {
            fenced ^= line.trim_start().starts_with("```");
            if line.trim().is_empty() {
                before = PathBuf::new();
            }
            if fenced {
                continue;
            }
            for mention in mentions(line) {
                match self.find(&mention, &before) {
                    Some(found) => before = found,
                    None => wrong.push((number + 1, mention)),
                }
            }
        }
        wrong
    }
}

#[derive(Default)]
struct Defined {
    names: Vec<String>,
}

impl Defined {
    /// What is made in a macro's argument, such as property tests.
    fn of_tokens(&mut self, tokens: proc_macro2::TokenStream) {
        use proc_macro2::TokenTree;
        const MADE_BY: [&str; 7] = ["fn", "const", "static", "struct", "enum", "trait", "type"];
        let mut made = false;
        for token in tokens {
            match token {
                TokenTree::Ident(ident) if made => {
                    self.names.push(ident.to_string());
                    made = false;
                }
                TokenTree::Group(group) => self.of_tokens(group.stream()),
                token => made = MADE_BY.contains(&token.to_string().as_str()),
            }
        }
    }
}

impl<'ast> Visit<'ast> for Defined {
    fn visit_ident(&mut self, ident: &'ast proc_macro2::Ident) {
        self.names.push(ident.to_string());
    }

    /// Tests that have a `main` of their own are named by strings.
    fn visit_lit_str(&mut self, text: &'ast syn::LitStr) {
        self.names.push(text.value());
    }

    fn visit_macro(&mut self, call: &'ast syn::Macro) {
        self.of_tokens(call.tokens.clone());
    }

    // Only where a name is made: not in types, expressions and imports.
    fn visit_path(&mut self, _: &'ast syn::Path) {}
    fn visit_item_use(&mut self, _: &'ast syn::ItemUse) {}
    fn visit_expr_field(&mut self, _: &'ast syn::ExprField) {}
    fn visit_expr_method_call(&mut self, _: &'ast syn::ExprMethodCall) {}
    fn visit_pat(&mut self, _: &'ast syn::Pat) {}
}

/// The paths in the backticks of a line, braces undone.
fn mentions(line: &str) -> Vec<String> {
    let words = line.split('`').skip(1).step_by(2).filter_map(|code| code.split(' ').next());
    words.flat_map(unbrace).filter(|word| is_ours(word)).collect()
}

fn unbrace(word: &str) -> Vec<String> {
    let parts = word.split_once('{').and_then(|(head, rest)| Some((head, rest.split_once('}')?)));
    let Some((head, (inner, tail))) = parts else { return vec![word.to_owned()] };
    inner.split(',').flat_map(|one| unbrace(&format!("{head}{one}{tail}"))).collect()
}

/// Whether a word is a path of this tree rather than of a data directory, a URL, or others' trees.
fn is_ours(word: &str) -> bool {
    let path = word.split("::").next().unwrap_or_default();
    let plain = |c: char| c.is_ascii_alphanumeric() || "_-./".contains(c);
    if path.is_empty() {
        return word.len() > 2 && word[2..].starts_with(|c: char| c.is_ascii_alphabetic());
    }
    if !path.chars().all(plain) || path.starts_with(['/', '.']) {
        return false;
    }
    let capitals = |part: &str| part.len() > 1 && part.chars().all(|c| c.is_ascii_uppercase());
    if !path.ends_with(".md") && path.split(['/', '.']).any(capitals) {
        return false;
    }
    let extension = Path::new(path).extension().and_then(|extension| extension.to_str());
    let named = extension.is_some_and(|extension| EXTENSIONS.contains(&extension));
    let first = path.split('/').next().unwrap_or_default();
    named || (path.contains('/') && root().join(first).is_dir() && first != "target")
}

/// Where the links of a text lead, but those to other sites and within the page.
fn links(text: &str) -> Vec<&str> {
    let targets = text.split("](").skip(1).filter_map(|rest| rest.split(')').next());
    let files = targets.filter_map(|target| target.split('#').next());
    files.filter(|target| !target.is_empty() && !target.contains("://")).collect()
}

#[test]
fn documents_name_only_what_is_there() {
    let mut sources = Sources::default();
    let mut wrong = Vec::new();
    for document in documents() {
        let text = crate::read(&document);
        let name = document.display();
        for (line, mention) in sources.wrong(&text) {
            wrong.push(format!("{name}:{line}: `{mention}`"));
        }
        let folder = document.parent().unwrap_or(Path::new(""));
        for link in links(&text) {
            if !root().join(folder).join(link).exists() {
                wrong.push(format!("{name}: the link to {link}"));
            }
        }
    }
    assert_none("documents name what is not there", wrong);
}

#[test]
fn a_wrong_path_or_name_is_found() {
    let text = "`e2e/tests/style/main.rs::root` and `documents.rs::MAX_ARCHITECTURE_BYTES`,\n\
                `::QUESTIONS`, `circles.rs::nothing_of_that_name`, `::assert_none`\n\n\
                `documents.rs` `e2e/no.sh` `/registry/pods` `e2e/{tests,never}` `DATA/run`";
    let wrong = Sources::default().wrong(text);
    let found: Vec<_> = wrong.iter().map(|(line, mention)| format!("{line} {mention}")).collect();
    let expected = [
        "2 circles.rs::nothing_of_that_name",
        "2 ::assert_none",
        "4 documents.rs",
        "4 e2e/no.sh",
        "4 e2e/never",
    ];
    assert_eq!(found, expected);
}

#[test]
fn the_architecture_is_one_page_that_answers() {
    let text = crate::read(Path::new("ARCHITECTURE.md"));
    assert!(text.len() <= MAX_ARCHITECTURE_BYTES, "ARCHITECTURE.md has {} bytes", text.len());
    let answered = |question: &&&str| {
        text.lines().any(|line| {
            let line = line.to_lowercase();
            line.contains(&question.to_lowercase()) && !mentions(&line).is_empty()
        })
    };
    let missing = QUESTIONS.iter().filter(|question| !answered(question));
    assert_none(
        "questions without a line that has a path",
        missing.map(|question| (*question).to_owned()).collect(),
    );
}
