//! What the signature of a remote function means, and everything that is wrong with it at once.

use crate::diagnostics::Diagnostics;
use proc_macro2::{Span, TokenStream};
use quote::{format_ident, quote, quote_spanned};
use std::fmt;
use syn::{
    Attribute, FnArg, GenericArgument, GenericParam, Generics, Ident, Lifetime, Meta, Pat, PatType,
    PathArguments, ReturnType, Signature, Type, TypeBareFn, TypeImplTrait, TypePtr, TypeReference,
    TypeTraitObject, parse_quote, spanned::Spanned, visit::Visit,
};

/// The most parameters that a remote function may have.
pub(crate) const MAX_PARAMETERS: usize = 12;

/// What a signature is of, as messages call it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Subject {
    Function,
    Constructor,
    Method,
}

/// A signature that can be called remotely.
pub(crate) struct Model {
    pub(crate) parameters: Vec<Parameter>,
    pub(crate) returns: Returns,
    /// Where it says `async`, if it does.
    pub(crate) asyncness: Option<Span>,
}

/// A parameter: what travels, and whether the function borrows it.
pub(crate) struct Parameter {
    pub(crate) name: Ident,
    /// Without the `&`.
    pub(crate) ty: Type,
    pub(crate) borrowed: bool,
}

/// The return type as it is written. Whether it is a `Result` is told by type; this only chooses how the stub is
/// written, and the expansion checks that both agree.
pub(crate) struct Returns {
    whole: Type,
    /// Whether its path ends in `Result`; with its type arguments, as far as it has any.
    result: Option<ResultArguments>,
}

#[derive(Default)]
struct ResultArguments {
    value: Option<Type>,
    error: Option<Type>,
}

impl Model {
    /// Reads `signature` of a `subject`; what is wrong with it goes to `diagnostics`. The receiver of a method is left out.
    pub(crate) fn read(subject: Subject, signature: &Signature, diagnostics: &mut Diagnostics) -> Self {
        refuse_qualifiers(subject, signature, diagnostics);
        refuse_generics(subject, &signature.generics, diagnostics);
        let mut parameters = Vec::new();
        for (index, input) in signature.inputs.iter().enumerate() {
            match input {
                FnArg::Typed(typed) if parameters.len() < MAX_PARAMETERS => {
                    parameters.push(Parameter::read(subject, index, typed, diagnostics));
                }
                FnArg::Typed(typed) => {
                    diagnostics.at(
                        typed,
                        format!("{subject} takes at most {MAX_PARAMETERS} parameters; put them in a struct"),
                    );
                    break;
                }
                FnArg::Receiver(receiver) if subject == Subject::Function => diagnostics.at(
                    receiver,
                    "a method cannot be `#[remote]`; make it a free function that takes what it needs, or put \
                     `#[actor]` on the impl block",
                ),
                FnArg::Receiver(_) => {}
            }
        }
        let returns = Returns::read(subject, &signature.output, diagnostics);
        Model { parameters, returns, asyncness: signature.asyncness.map(|token| token.span) }
    }

    /// The names of the parameters.
    pub(crate) fn names(&self) -> Vec<&Ident> {
        self.parameters.iter().map(|p| &p.name).collect()
    }

    /// What travels for each parameter.
    pub(crate) fn types(&self) -> Vec<&Type> {
        self.parameters.iter().map(|p| &p.ty).collect()
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Subject::Function => "a remote function",
            Subject::Constructor => "an actor's constructor",
            Subject::Method => "an actor's method",
        })
    }
}

impl Parameter {
    fn read(subject: Subject, index: usize, typed: &PatType, diagnostics: &mut Diagnostics) -> Self {
        let name = match &*typed.pat {
            Pat::Ident(pattern) if pattern.subpat.is_none() => pattern.ident.clone(),
            _ => format_ident!("arg{index}"),
        };
        for attribute in typed.attrs.iter().filter(|a| a.path().is_ident("cfg")) {
            diagnostics.at(
                attribute,
                format!(
                    "a parameter of {subject} cannot be conditional: all processes have to agree on it; put `#[cfg]` on \
                     the function"
                ),
            );
        }
        let (ty, borrowed) = match ungrouped(&typed.ty) {
            Type::Reference(reference) => {
                refuse_reference(reference, diagnostics);
                ((*reference.elem).clone(), true)
            }
            ty => (ty.clone(), false),
        };
        refuse_inside(&ty, diagnostics);
        Parameter { name, ty, borrowed }
    }
}

impl Returns {
    fn read(subject: Subject, output: &ReturnType, diagnostics: &mut Diagnostics) -> Self {
        let whole = match output {
            ReturnType::Default => parse_quote!(()),
            ReturnType::Type(_, ty) => ungrouped(ty).clone(),
        };
        let result = ResultArguments::read(&whole);
        match (&whole, &result) {
            (Type::Never(never), _) => {
                diagnostics.at(never, format!("{subject} has to return, for its future to end; use `()`"));
            }
            (Type::Reference(reference), _) => diagnostics.at(
                reference,
                format!(
                    "{subject} cannot return a borrow, whose memory stays in the worker; return an owned value \
                     (`String`, `Vec<T>`, `fdbray::Blob`)"
                ),
            ),
            // Of a `Result` the value travels as it is; its error may be anything that becomes text.
            (_, Some(ResultArguments { value: Some(value), .. })) => refuse_inside(value, diagnostics),
            (_, Some(_)) => {}
            (ty, None) => refuse_inside(ty, diagnostics),
        }
        Returns { whole, result }
    }

    /// The type as it is written.
    pub(crate) fn whole(&self) -> &Type {
        &self.whole
    }

    /// Whether it says that it is a `Result`.
    pub(crate) fn says_result(&self) -> bool {
        self.result.is_some()
    }

    /// What it says that it is a `Result` of.
    pub(crate) fn said_value(&self) -> Option<&Type> {
        self.result.as_ref()?.value.as_ref()
    }

    /// The type of a call's future's value.
    pub(crate) fn value(&self) -> TokenStream {
        let whole = &self.whole;
        match (&self.result, self.said_value()) {
            (None, _) => quote!(#whole),
            (Some(_), Some(value)) => quote!(#value),
            (Some(_), None) => {
                quote_spanned!(whole.span()=> <#whole as ::fdbray::__private::Fallible>::Ok)
            }
        }
    }

    /// Where its value's type stands, as far as that is written.
    pub(crate) fn value_span(&self) -> Span {
        self.said_value().unwrap_or(&self.whole).span()
    }

    /// Where its error's type stands, as far as that is written.
    pub(crate) fn error_span(&self) -> Span {
        let error = self.result.as_ref().and_then(|result| result.error.as_ref());
        error.unwrap_or(&self.whole).span()
    }
}

impl ResultArguments {
    /// `None` unless the path of `ty` ends in `Result`.
    fn read(ty: &Type) -> Option<Self> {
        let Type::Path(path) = ty else { return None };
        let last = path.path.segments.last().filter(|s| s.ident == "Result")?;
        let PathArguments::AngleBracketed(arguments) = &last.arguments else {
            return Some(ResultArguments::default());
        };
        let mut types = arguments.args.iter().filter_map(|argument| match argument {
            GenericArgument::Type(ty) => Some(ty.clone()),
            _ => None,
        });
        Some(ResultArguments { value: types.next(), error: types.next() })
    }
}

/// `ty` without parentheses and without the invisible ones around what a macro put in.
pub(crate) fn ungrouped(ty: &Type) -> &Type {
    match ty {
        Type::Group(group) => ungrouped(&group.elem),
        Type::Paren(paren) => ungrouped(&paren.elem),
        ty => ty,
    }
}

/// The attributes that go with every generated item.
pub(crate) fn carried(attributes: &[Attribute]) -> Vec<&Attribute> {
    attributes.iter().filter(|a| is_carried(a)).collect()
}

/// Whether an attribute goes with every generated item.
pub(crate) fn is_carried(attribute: &Attribute) -> bool {
    let path = attribute.path();
    let hides = || matches!(&attribute.meta, Meta::List(list) if list.tokens.to_string() == "hidden");
    path.is_ident("cfg") || path.is_ident("deprecated") || (path.is_ident("doc") && hides())
}

fn refuse_qualifiers(subject: Subject, signature: &Signature, diagnostics: &mut Diagnostics) {
    if let Some(token) = &signature.unsafety {
        diagnostics.at(
            token,
            format!(
                "{subject} cannot be unsafe: its caller is another process and can promise nothing; check what it \
                 relies on inside it"
            ),
        );
    }
    if let Some(abi) = &signature.abi {
        diagnostics
            .at(abi, format!("{subject} cannot be extern; call the extern function from an ordinary one"));
    }
    if let Some(variadic) = &signature.variadic {
        diagnostics.at(variadic, format!("{subject} cannot be variadic; take a `Vec`"));
    }
}

fn refuse_generics(subject: Subject, generics: &Generics, diagnostics: &mut Diagnostics) {
    let typed = generics.params.iter().any(|p| !matches!(p, GenericParam::Lifetime(_)));
    if typed {
        diagnostics.at(
            &generics.params,
            format!(
                "{subject} cannot be generic, since a worker has to know its types by name; {}",
                match subject {
                    Subject::Function => "write one function per type, which calls a generic helper",
                    _ => "write one per type, or move it to an impl block without `#[actor]`, where it stays local",
                }
            ),
        );
    } else if !generics.params.is_empty() {
        diagnostics.at(
            &generics.params,
            format!("{subject} cannot name lifetimes: a borrowed parameter is borrowed for the call, so write `&T`"),
        );
    }
    if let Some(clause) = &generics.where_clause {
        diagnostics.at(clause, format!("{subject} cannot have a where clause"));
    }
}

fn refuse_reference(reference: &TypeReference, diagnostics: &mut Diagnostics) {
    if reference.mutability.is_some() {
        diagnostics.at(
            reference,
            "a `&mut` parameter cannot be remote, since its caller would not see the change; take the value and \
             return it",
        );
    }
    if let Some(lifetime) = reference.lifetime.as_ref().filter(|l| l.ident == "static") {
        diagnostics.at(
            lifetime,
            "a borrowed parameter is borrowed for the call: leave the lifetime out, write `&T`",
        );
    }
}

/// Refuses what cannot travel wherever it stands inside `ty`.
fn refuse_inside(ty: &Type, diagnostics: &mut Diagnostics) {
    Inside(diagnostics).visit_type(ty);
}

struct Inside<'a>(&'a mut Diagnostics);

impl<'ast> Visit<'ast> for Inside<'_> {
    fn visit_type_reference(&mut self, reference: &'ast TypeReference) {
        self.0.at(
            reference,
            "a borrow inside a type cannot travel; use the owned type (`String`, `Vec<T>`, `fdbray::Blob`). Only a \
             whole parameter may be `&T`",
        );
    }

    fn visit_lifetime(&mut self, lifetime: &'ast Lifetime) {
        if lifetime.ident != "static" {
            self.0.at(lifetime, "a type that borrows cannot travel; use an owned one");
        }
    }

    fn visit_type_impl_trait(&mut self, ty: &'ast TypeImplTrait) {
        self.0.at(ty, "`impl Trait` has no name that a worker could know; write the concrete type");
    }

    fn visit_type_ptr(&mut self, ty: &'ast TypePtr) {
        self.0.at(ty, "a pointer cannot travel between processes; send what it points to");
    }

    fn visit_type_bare_fn(&mut self, ty: &'ast TypeBareFn) {
        self.0.at(ty, "a function pointer cannot travel between processes; send an enum that says which");
    }

    fn visit_type_trait_object(&mut self, ty: &'ast TypeTraitObject) {
        self.0.at(ty, "a trait object cannot travel between processes; use an enum");
    }
}
