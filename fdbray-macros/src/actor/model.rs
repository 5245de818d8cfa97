//! What an impl block under `#[actor]` means, and everything that is wrong with it at once.

use super::own_type;
use crate::{
    diagnostics::Diagnostics,
    model::{Model, Subject, carried, is_carried, ungrouped},
    options::{Options, Pair, pairs},
};
use proc_macro2::{Span, TokenStream};
use quote::format_ident;
use syn::{
    Attribute, Error, FnArg, GenericArgument, Ident, ImplItem, ImplItemFn, ItemImpl, Meta, PathArguments,
    Receiver, ReturnType, Token, Type, Visibility,
    ext::IdentExt,
    parse::{ParseStream, Parser},
    punctuated::Punctuated,
};

/// An impl block that makes its type an actor.
pub(super) struct Actor {
    pub(super) ty: Type,
    /// The last part of its path.
    pub(super) name: Ident,
    /// Of the handle and the options.
    pub(super) visibility: Visibility,
    /// Attributes that go with every generated item.
    pub(super) carried: Vec<Attribute>,
    pub(super) constructors: Vec<Function>,
    pub(super) methods: Vec<Method>,
    /// Where the block asks for checkpoints, if it does.
    pub(super) checkpoints: Option<Span>,
}

/// A public function of the block.
pub(super) struct Function {
    pub(super) ident: Ident,
    pub(super) visibility: Visibility,
    /// Its documentation and other attributes that go with what is generated from it.
    pub(super) attributes: Vec<Attribute>,
    pub(super) model: Model,
    pub(super) options: Options,
}

pub(super) struct Method {
    pub(super) function: Function,
    pub(super) receiver: Receiver,
    /// Whether it takes `&mut self`.
    pub(super) exclusive: bool,
}

impl Actor {
    /// Reads `block`, whose functions lose their `#[actor(..)]`; what is wrong goes to `diagnostics`.
    pub(super) fn read(
        attribute: TokenStream,
        block: &mut ItemImpl,
        diagnostics: &mut Diagnostics,
    ) -> Option<Self> {
        let given = Given::read(attribute, diagnostics);
        refuse_trait_and_generics(block, diagnostics);
        let ty = ungrouped(&block.self_ty).clone();
        let name = type_name(&ty, diagnostics);
        let (mut constructors, mut methods) = (Vec::new(), Vec::new());
        for item in &mut block.items {
            let ImplItem::Fn(function) = item else { continue };
            let said = take_options(&mut function.attrs, diagnostics);
            let Some(name) = &name else { continue };
            match Kind::of(function, name) {
                Kind::Local => {
                    if let Some((attribute, _)) = said {
                        diagnostics.at(attribute, LOCAL);
                    }
                }
                Kind::Constructor => {
                    let options = Options::of_constructor(said.map(|said| said.1), diagnostics);
                    let read = Function::read(Subject::Constructor, function, &ty, options, diagnostics);
                    constructors.push(read);
                }
                Kind::Method { receiver, exclusive } => {
                    let options = Options::of_method(said.map(|said| said.1), diagnostics);
                    if let Some(concurrency) = options.concurrency.as_ref().filter(|_| exclusive) {
                        diagnostics.at(
                            concurrency,
                            "a method that takes `&mut self` runs alone; leave `concurrency` out",
                        );
                    }
                    if function.sig.ident == "clone" {
                        diagnostics.at(
                            &function.sig.ident,
                            "on a handle `clone` gives another handle; rename this method, or make it private to keep \
                             it local",
                        );
                    }
                    let function = Function::read(Subject::Method, function, &ty, options, diagnostics);
                    methods.push(Method { function, receiver, exclusive });
                }
            }
        }
        if let Some((_, checkpoints)) = &given.checkpoints {
            let methods = methods.iter_mut().map(|method: &mut Method| &mut method.function);
            constructors.iter_mut().chain(methods).for_each(|f| f.options.set_checkpoints(checkpoints));
        }
        refuse_taken(block, &constructors, diagnostics);
        let Some(widest) = widest(&constructors) else {
            if name.is_some() && block.trait_.is_none() {
                diagnostics.at(
                    &ty,
                    "nothing creates this actor: add a `pub fn new(..) -> Self`, or another public function that returns \
                     `Self` or `Result<Self, E>`",
                );
            }
            return None;
        };
        Some(Actor {
            name: name?,
            visibility: given.visibility.unwrap_or(widest),
            carried: carried(&block.attrs).into_iter().cloned().collect(),
            ty,
            constructors,
            methods,
            checkpoints: given.checkpoints.map(|(span, _)| span),
        })
    }
}

impl Function {
    fn read(
        subject: Subject,
        function: &ImplItemFn,
        ty: &Type,
        options: Options,
        diagnostics: &mut Diagnostics,
    ) -> Self {
        let kept = |a: &&Attribute| a.path().is_ident("doc") || is_carried(a);
        Function {
            ident: function.sig.ident.clone(),
            visibility: function.vis.clone(),
            attributes: function.attrs.iter().filter(kept).cloned().collect(),
            model: Model::read(subject, &own_type::named(&function.sig, ty), diagnostics),
            options,
        }
    }

    /// Whether it says what it does.
    pub(super) fn is_documented(&self) -> bool {
        self.attributes.iter().any(|a| matches!(&a.meta, Meta::NameValue(pair) if pair.path.is_ident("doc")))
    }

    /// What a constructor is called when it is called remotely.
    pub(super) fn remote(&self) -> Ident {
        if self.ident == "new" {
            format_ident!("remote", span = self.ident.span())
        } else {
            format_ident!("remote_{}", self.ident.unraw(), span = self.ident.span())
        }
    }

    /// What it is called when it is called only if no actor has the name.
    pub(super) fn get_or_create(&self) -> Ident {
        if self.ident == "new" {
            format_ident!("get_or_create", span = self.ident.span())
        } else {
            format_ident!("get_or_create_{}", self.ident.unraw(), span = self.ident.span())
        }
    }

    /// The function that gives what is registered of it.
    pub(super) fn registered(&self) -> Ident {
        format_ident!("__{}", self.ident.unraw(), span = self.ident.span())
    }
}

/// What a function of the block is.
enum Kind {
    Local,
    Constructor,
    Method { receiver: Receiver, exclusive: bool },
}

impl Kind {
    fn of(function: &ImplItemFn, name: &Ident) -> Self {
        if matches!(function.vis, Visibility::Inherited) {
            return Kind::Local;
        }
        match function.sig.inputs.first() {
            Some(FnArg::Receiver(receiver)) => match ungrouped(&receiver.ty) {
                Type::Reference(reference) if is_own(&reference.elem, name) => {
                    Kind::Method { receiver: receiver.clone(), exclusive: reference.mutability.is_some() }
                }
                // By value, or in a box: what it leaves could not be called again.
                _ => Kind::Local,
            },
            _ if constructs(&function.sig.output, name) => Kind::Constructor,
            _ => Kind::Local,
        }
    }
}

/// Whether `output` is the actor, or a `Result` of it.
fn constructs(output: &ReturnType, name: &Ident) -> bool {
    let ReturnType::Type(_, output) = output else { return false };
    if is_own(output, name) {
        return true;
    }
    let Type::Path(path) = ungrouped(output) else { return false };
    let last = path.path.segments.last().filter(|last| last.ident == "Result");
    match last.map(|last| &last.arguments) {
        Some(PathArguments::AngleBracketed(arguments)) => {
            matches!(arguments.args.first(), Some(GenericArgument::Type(value)) if is_own(value, name))
        }
        _ => false,
    }
}

/// Whether `written` is the actor's type: `Self`, or a path that ends in its name.
fn is_own(written: &Type, name: &Ident) -> bool {
    let Type::Path(path) = ungrouped(written) else { return false };
    path.path.is_ident("Self")
        || path.path.segments.last().is_some_and(|last| last.ident == *name && last.arguments.is_none())
}

/// What the attribute of the block says.
#[derive(Default)]
struct Given {
    /// Of the handle.
    visibility: Option<Visibility>,
    /// Where it asks for checkpoints, and an expression that says when they are taken.
    checkpoints: Option<(Span, TokenStream)>,
}

impl Given {
    fn read(attribute: TokenStream, diagnostics: &mut Diagnostics) -> Self {
        let visibility_first = |input: ParseStream<'_>| {
            let visibility: Visibility = input.parse()?;
            let inherited = matches!(visibility, Visibility::Inherited);
            if !inherited && !input.is_empty() {
                input.parse::<Token![,]>()?;
            }
            Ok(((!inherited).then_some(visibility), input.parse::<TokenStream>()?))
        };
        let (visibility, rest) = match visibility_first.parse2(attribute) {
            Ok(read) => read,
            Err(error) => {
                diagnostics.push(Error::new(error.span(), ON_BLOCK));
                return Given::default();
            }
        };
        let mut given = Given { visibility, checkpoints: None };
        if Punctuated::<Pair, Token![,]>::parse_terminated.parse2(rest.clone()).is_err() {
            diagnostics.at(rest, ON_BLOCK);
            return given;
        }
        for pair in pairs(rest, diagnostics) {
            match pair.checkpoints() {
                _ if pair.key != "checkpoint" => diagnostics.at(&pair.key, ON_BLOCK),
                Ok(when) => given.checkpoints = Some((pair.key.span(), when)),
                Err(error) => diagnostics.push(error),
            }
        }
        given
    }
}

fn refuse_trait_and_generics(block: &ItemImpl, diagnostics: &mut Diagnostics) {
    if let Some((_, path, _)) = &block.trait_ {
        diagnostics.at(
            path,
            "`#[actor]` goes on an impl block without a trait; call the trait's methods from public methods of such a block",
        );
    }
    if !block.generics.params.is_empty() {
        diagnostics.at(&block.generics, GENERIC);
    }
    if let Some(clause) = &block.generics.where_clause {
        diagnostics.at(clause, "an actor cannot have a where clause");
    }
}

/// The name of a type that can be an actor's.
fn type_name(ty: &Type, diagnostics: &mut Diagnostics) -> Option<Ident> {
    let last = match ty {
        Type::Path(path) if path.qself.is_none() => path.path.segments.last(),
        _ => None,
    };
    let Some(last) = last else {
        diagnostics.at(ty, "an actor is a struct or an enum of this crate, named here by its path");
        return None;
    };
    if !last.arguments.is_none() {
        diagnostics.at(&last.arguments, GENERIC);
    }
    Some(last.ident.clone())
}

/// Takes `#[actor(..)]` off a function, and gives what is in it.
fn take_options(
    attributes: &mut Vec<Attribute>,
    diagnostics: &mut Diagnostics,
) -> Option<(Attribute, TokenStream)> {
    let is_ours = |a: &Attribute| a.path().segments.last().is_some_and(|last| last.ident == "actor");
    let mut ours = attributes.extract_if(.., |a| is_ours(a));
    let first = ours.next()?;
    for second in ours {
        diagnostics.at(second, "write all options into one `#[actor(..)]`");
    }
    match &first.meta {
        Meta::List(list) => {
            let tokens = list.tokens.clone();
            Some((first, tokens))
        }
        meta => {
            diagnostics.at(meta, "on a function `#[actor]` gives options, like `#[actor(retries = 2)]`");
            None
        }
    }
}

/// Refuses functions that have the names of what is put on the type.
fn refuse_taken(block: &ItemImpl, constructors: &[Function], diagnostics: &mut Diagnostics) {
    let mut taken: Vec<Ident> = constructors.iter().map(Function::remote).collect();
    taken.push(format_ident!("options"));
    for item in &block.items {
        if let ImplItem::Fn(function) = item
            && taken.contains(&function.sig.ident)
        {
            let name = &function.sig.ident;
            diagnostics.at(
                name,
                format!(
                    "`#[actor]` puts a function `{name}` on the type, which creates actors; rename this one"
                ),
            );
        }
    }
}

/// The visibility of the constructor that is seen furthest: the block does not tell that of the type.
fn widest(constructors: &[Function]) -> Option<Visibility> {
    constructors.iter().map(|c| &c.visibility).reduce(|a, b| if reach(b) > reach(a) { b } else { a }).cloned()
}

/// How far a visibility reaches, as far as that can be told.
pub(super) fn reach(visibility: &Visibility) -> u8 {
    match visibility {
        Visibility::Public(_) => 3,
        Visibility::Restricted(restricted) if restricted.path.is_ident("crate") => 2,
        Visibility::Restricted(_) => 1,
        Visibility::Inherited => 0,
    }
}

const GENERIC: &str = "an actor cannot be generic, since a worker has to know its type by name; write a type of its own \
                       around each instance";

const ON_BLOCK: &str = "on an impl block `#[actor]` takes the visibility of the handle and `checkpoint`, like \
                        `#[actor(pub(crate), checkpoint)]`; other options go on constructors and methods, like \
                        `#[actor(max_restarts = 3)]` on `new`";

const LOCAL: &str = "this function stays local, so that it has no options: only public ones that return `Self` or \
                     `Result<Self, E>`, or take `&self` or `&mut self`, are called remotely";
