//! A crate's tree of modules, read from its sources, and what each path in them leads to.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use syn::{spanned::Spanned, visit::Visit};

/// A path of modules from the crate's root; the root itself is empty.
pub type Module = Vec<String>;

/// How many `pub use` one name may lead through.
const MAX_HOPS: usize = 16;

/// What a module's names stand for.
#[derive(Default)]
struct Scope {
    file: PathBuf,
    children: BTreeSet<String>,
    /// What `use` brings in under a name: the module that it says so in, and the path.
    names: BTreeMap<String, Vec<String>>,
    globs: Vec<Vec<String>>,
}

/// A path in a file, as it is written.
struct Mention {
    module: Module,
    path: Vec<String>,
    line: usize,
}

/// That one file's source names something of another's.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Import {
    pub from: PathBuf,
    pub line: usize,
    pub to: PathBuf,
}

/// All modules of one target: a library, a program, a test.
pub struct Tree {
    scopes: BTreeMap<Module, Scope>,
    mentions: Vec<Mention>,
}

impl Tree {
    /// Reads the target that begins in the file `root`; paths stay relative to `base`.
    pub fn read(base: &Path, root: &Path) -> Tree {
        let mut tree = Tree { scopes: BTreeMap::new(), mentions: Vec::new() };
        let folder = root.parent().unwrap_or(Path::new("")).to_owned();
        tree.read_file(base, root, &folder, Vec::new());
        tree
    }

    fn read_file(&mut self, base: &Path, file: &Path, folder: &Path, module: Module) {
        let text = std::fs::read_to_string(base.join(file))
            .unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        let syntax =
            syn::parse_file(&text).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        self.read_items(base, file, folder, module, &syntax.items);
    }

    fn read_items(
        &mut self,
        base: &Path,
        file: &Path,
        folder: &Path,
        module: Module,
        items: &[syn::Item],
    ) {
        let scope = self.scopes.entry(module.clone()).or_default();
        scope.file = file.to_owned();
        for item in items {
            match item {
                syn::Item::Mod(inner) => match &inner.content {
                    None => self.read_child(base, folder, &module, &inner.ident.to_string()),
                    Some((_, items)) => {
                        let (name, mut child) = (inner.ident.to_string(), module.clone());
                        self.scopes.entry(child.clone()).or_default().children.insert(name.clone());
                        child.push(name.clone());
                        self.read_items(base, file, &folder.join(name), child, items);
                    }
                },
                syn::Item::Macro(call) => {
                    // A list, as of controllers or verbs, may declare its modules.
                    for name in words(call.mac.tokens.clone()) {
                        let declared = self.scopes[&module].children.contains(&name);
                        if !declared && base.join(file_of(base, folder, &name)).exists() {
                            self.read_child(base, folder, &module, &name);
                        }
                    }
                    self.read_paths(&module, item);
                }
                item => self.read_paths(&module, item),
            }
        }
    }

    /// Reads the file of `mod name;`.
    fn read_child(&mut self, base: &Path, folder: &Path, module: &Module, name: &str) {
        self.scopes.entry(module.clone()).or_default().children.insert(name.to_owned());
        let mut child = module.clone();
        child.push(name.to_owned());
        self.read_file(base, &file_of(base, folder, name), &folder.join(name), child);
    }

    /// The files that have been read.
    pub fn files(&self) -> impl Iterator<Item = &PathBuf> {
        self.scopes.values().map(|scope| &scope.file)
    }

    fn read_paths(&mut self, module: &Module, item: &syn::Item) {
        let mut paths = Paths::default();
        paths.visit_item(item);
        for (path, line) in &paths.found {
            self.mentions.push(Mention { module: module.clone(), path: path.clone(), line: *line });
        }
        let Some(scope) = self.scopes.get_mut(module) else { return };
        for (name, path) in paths.used {
            match name {
                Some(name) => drop(scope.names.insert(name, path)),
                None => scope.globs.push(path),
            }
        }
    }

    /// The module that a path, written in `module`, leads to: that which defines its last part,
    /// or is it. None for what is not of this crate.
    fn find(&self, module: &[String], path: &[String], hops: usize) -> Option<Module> {
        let mut at = module.to_vec();
        let mut rest = path;
        let mut rooted = false;
        while let Some((first, more)) = rest.split_first() {
            match first.as_str() {
                "crate" => at.clear(),
                "self" => {}
                "super" => drop(at.pop()?),
                _ => break,
            }
            rooted = true;
            rest = more;
        }
        let (first, more) = match rest.split_first() {
            Some(parts) => parts,
            None => return rooted.then_some(at),
        };
        if !self.knows(&at, first) {
            return rooted.then_some(at);
        }
        self.descend(at, first, more, hops)
    }

    fn knows(&self, module: &[String], name: &str) -> bool {
        let Some(scope) = self.scopes.get(module) else { return false };
        scope.children.contains(name) || scope.names.contains_key(name) || !scope.globs.is_empty()
    }

    fn descend(
        &self,
        mut at: Module,
        name: &String,
        rest: &[String],
        hops: usize,
    ) -> Option<Module> {
        let scope = self.scopes.get(&at)?;
        if scope.children.contains(name) {
            at.push(name.clone());
            return match rest.split_first() {
                None => Some(at),
                Some((next, more)) if self.knows(&at, next) => {
                    self.descend(at.clone(), next, more, hops).or(Some(at))
                }
                Some(_) => Some(at),
            };
        }
        let hops = hops.checked_sub(1)?;
        if let Some(path) = scope.names.get(name) {
            let path: Vec<_> = path.iter().chain(rest).cloned().collect();
            return self.find(&at, &path, hops);
        }
        scope.globs.iter().find_map(|glob| {
            let module = self.find(&at, glob, hops)?;
            let known = self.scopes.get(&module)?;
            let here = known.children.contains(name) || known.names.contains_key(name);
            (here && module != at).then(|| self.descend(module, name, rest, hops)).flatten()
        })
    }

    /// Which file names what of which other; what is between a module and those inside it is left
    /// out.
    pub fn imports(&self) -> BTreeSet<Import> {
        let mut found = BTreeSet::new();
        for mention in &self.mentions {
            let Some(target) = self.find(&mention.module, &mention.path, MAX_HOPS) else {
                continue;
            };
            let from = self.file_module(&mention.module);
            let to = self.file_module(&target);
            if from.starts_with(&to) || to.starts_with(&from) {
                continue;
            }
            found.insert(Import {
                from: self.scopes[&from].file.clone(),
                line: mention.line,
                to: self.scopes[&to].file.clone(),
            });
        }
        found
    }

    /// The outermost module that is in the same file.
    fn file_module(&self, module: &[String]) -> Module {
        let file = &self.scopes[module].file;
        (0..=module.len())
            .map(|length| module[..length].to_vec())
            .find(|outer| self.scopes.get(outer).is_some_and(|scope| scope.file == *file))
            .unwrap_or_else(|| module.to_vec())
    }
}

/// Where the module `name` of a module that has `folder` is.
fn file_of(base: &Path, folder: &Path, name: &str) -> PathBuf {
    let flat = folder.join(format!("{name}.rs"));
    if base.join(&flat).exists() { flat } else { folder.join(name).join("mod.rs") }
}

/// The words of a macro's argument, but for what is inside brackets.
fn words(tokens: proc_macro2::TokenStream) -> BTreeSet<String> {
    let words = tokens.into_iter().filter_map(|token| match token {
        proc_macro2::TokenTree::Ident(ident) => Some(ident.to_string()),
        _ => None,
    });
    words.collect()
}

/// Collects the paths of an item, those in macros' arguments too.
#[derive(Default)]
struct Paths {
    found: Vec<(Vec<String>, usize)>,
    /// By the name that they get; a glob has none.
    used: Vec<(Option<String>, Vec<String>)>,
}

impl Paths {
    fn of_use(&mut self, tree: &syn::UseTree, prefix: &[String]) {
        let mut path = prefix.to_vec();
        let line = tree.span().start().line;
        let name = match tree {
            syn::UseTree::Path(inner) => {
                path.push(inner.ident.to_string());
                return self.of_use(&inner.tree, &path);
            }
            syn::UseTree::Group(group) => {
                return group.items.iter().for_each(|item| self.of_use(item, prefix));
            }
            syn::UseTree::Name(name) if name.ident == "self" => path.last().cloned(),
            syn::UseTree::Name(name) => {
                path.push(name.ident.to_string());
                Some(name.ident.to_string())
            }
            syn::UseTree::Rename(rename) => {
                if rename.ident != "self" {
                    path.push(rename.ident.to_string());
                }
                Some(rename.rename.to_string())
            }
            syn::UseTree::Glob(_) => None,
        };
        self.found.push((path.clone(), line));
        self.used.push((name, path));
    }

    fn of_tokens(&mut self, tokens: proc_macro2::TokenStream) {
        use proc_macro2::TokenTree;
        let mut path: Vec<String> = Vec::new();
        let mut colons = 0;
        for token in tokens {
            match token {
                TokenTree::Punct(punct) if punct.as_char() == ':' => colons += 1,
                TokenTree::Ident(ident) => {
                    if colons != 2 {
                        path.clear();
                    }
                    colons = 0;
                    path.push(ident.to_string());
                    if path.len() > 1 {
                        self.found.push((path.clone(), ident.span().start().line));
                    }
                }
                TokenTree::Group(group) => {
                    (colons, path) = (0, Vec::new());
                    self.of_tokens(group.stream());
                }
                _ => (colons, path) = (0, Vec::new()),
            }
        }
    }
}

impl<'ast> Visit<'ast> for Paths {
    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        if item.leading_colon.is_none() {
            self.of_use(&item.tree, &[]);
        }
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let parts: Vec<_> = path.segments.iter().map(|part| part.ident.to_string()).collect();
        if parts.len() > 1 && path.leading_colon.is_none() {
            self.found.push((parts, path.span().start().line));
        }
        syn::visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, call: &'ast syn::Macro) {
        self.visit_path(&call.path);
        self.of_tokens(call.tokens.clone());
    }

    fn visit_visibility(&mut self, _: &'ast syn::Visibility) {}
}
