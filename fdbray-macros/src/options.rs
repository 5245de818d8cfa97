//! The options inside `#[remote(..)]` and `#[actor(..)]`, and the `name = value` pairs of the other attributes.

use crate::diagnostics::Diagnostics;
use proc_macro2::{Span, TokenStream};
use quote::{ToTokens, quote};
use std::collections::HashSet;
use syn::{
    Expr, ExprLit, ExprUnary, Ident, Lit, LitInt, LitStr, Result, Token, UnOp,
    ext::IdentExt,
    parenthesized,
    parse::{Parse, ParseStream, Parser},
    punctuated::Punctuated,
};

/// What `#[remote(..)]` or the `#[actor(..)]` of a function said, validated.
#[derive(Default)]
pub(crate) struct Options {
    /// The stable name, when it is not the function's path.
    pub(crate) name: Option<LitStr>,
    /// The generated type's name, when it is not the function's.
    pub(crate) stub: Option<Ident>,
    /// How many calls of a method may run at once.
    pub(crate) concurrency: Option<Expr>,
    /// Fields of `Defaults`.
    fields: Vec<TokenStream>,
}

impl Options {
    /// Reads the arguments of `#[remote]`; what is wrong goes to `diagnostics`.
    pub(crate) fn of_function(attribute: TokenStream, diagnostics: &mut Diagnostics) -> Self {
        let mut options = Options::default();
        options.read(attribute, FUNCTION, diagnostics);
        options
    }

    /// The same of `#[actor]` on a constructor. Actors hold no CPUs unless they say so.
    pub(crate) fn of_constructor(attribute: Option<TokenStream>, diagnostics: &mut Diagnostics) -> Self {
        let mut options = Options::default();
        let said = options.read(attribute.unwrap_or_default(), CONSTRUCTOR, diagnostics);
        if !said.contains("cpus") {
            options.fields.push(quote!(cpus: ::core::option::Option::Some(0.0)));
        }
        options
    }

    /// The same of `#[actor]` on a method, which runs on what its actor holds.
    pub(crate) fn of_method(attribute: Option<TokenStream>, diagnostics: &mut Diagnostics) -> Self {
        let mut options = Options::default();
        options.read(attribute.unwrap_or_default(), METHOD, diagnostics);
        options.fields.push(quote!(cpus: ::core::option::Option::Some(0.0)));
        options
    }

    /// Adds when an actor's state is kept, which its impl block says: an expression of type `Checkpoints`.
    pub(crate) fn set_checkpoints(&mut self, checkpoints: &TokenStream) {
        self.fields.push(quote!(checkpoints: ::core::option::Option::Some(#checkpoints)));
    }

    /// An expression of type `Defaults`, usable in a static.
    pub(crate) fn defaults(&self) -> TokenStream {
        let fields = &self.fields;
        quote!(::fdbray::__private::Defaults { #(#fields,)* ..::fdbray::__private::Defaults::NEW })
    }

    /// Reads `attribute`, which may have the `known` keys; gives those that it has.
    fn read(
        &mut self,
        attribute: TokenStream,
        known: &[&str],
        diagnostics: &mut Diagnostics,
    ) -> HashSet<String> {
        let pairs = pairs(attribute, diagnostics);
        for pair in &pairs {
            let key = pair.key.to_string();
            let set = match has(known, &key) {
                true => self.set(pair),
                false if known == METHOD && has(CONSTRUCTOR, &key) => Err(syn::Error::new(
                    pair.key.span(),
                    format!("`{key}` belongs on the constructor: a method runs on what its actor holds"),
                )),
                false if known == CONSTRUCTOR && has(METHOD, &key) => {
                    Err(syn::Error::new(pair.key.span(), format!("`{key}` belongs on a method")))
                }
                false => Err(pair.unknown(&key, &listed(known))),
            };
            if let Err(error) = set {
                diagnostics.push(error);
            }
        }
        pairs.iter().map(|pair| pair.key.to_string()).collect()
    }

    fn set(&mut self, pair: &Pair) -> Result<()> {
        let key = &pair.key;
        match key.to_string().as_str() {
            "name" => self.name = Some(pair.text("name = \"my_app.add\"")?),
            "stub" => self.stub = Some(pair.ident("stub = other_name")?),
            "concurrency" => self.concurrency = Some(pair.positive("concurrency = 8")?.clone()),
            "cpus" | "gpus" => {
                let n = pair.amount(&format!("{key} = 0.5"))?;
                self.field(key, quote!(#n));
            }
            "memory" => {
                let bytes = pair.bytes()?;
                self.field(key, bytes);
            }
            "logs" => {
                let on = pair.switch("logs = false")?;
                self.field(key, quote!(#on));
            }
            "durable" => {
                pair.flag("durable")?;
                self.fields.push(quote!(durable: true));
            }
            "resources" => {
                let list = pair.resources()?;
                self.fields.push(quote!(resources: &[#(#list),*]));
            }
            // `retries`, `retry_errors` and `max_restarts`.
            _ => {
                let n = pair.count(&format!("{key} = 3"))?;
                self.field(key, quote!(#n));
            }
        }
        Ok(())
    }

    fn field(&mut self, key: &Ident, value: TokenStream) {
        self.fields.push(quote!(#key: ::core::option::Option::Some(#value)));
    }
}

/// The keys of `#[remote(..)]`.
const FUNCTION: &[&str] = &[
    "name",
    "cpus",
    "gpus",
    "memory",
    "resources(..)",
    "retries",
    "retry_errors",
    "durable",
    "logs",
    "stub",
];
/// Those of `#[actor(..)]` on a constructor.
const CONSTRUCTOR: &[&str] =
    &["name", "cpus", "gpus", "memory", "resources(..)", "retries", "retry_errors", "max_restarts", "logs"];
/// Those of `#[actor(..)]` on a method.
const METHOD: &[&str] = &["name", "concurrency", "retries", "retry_errors", "logs"];

fn has(keys: &[&str], key: &str) -> bool {
    keys.iter().any(|known| known.trim_end_matches("(..)") == key)
}

/// "`a`, `b` and `c`".
fn listed(keys: &[&str]) -> String {
    let quoted: Vec<String> = keys.iter().map(|key| format!("`{key}`")).collect();
    match quoted.split_last() {
        Some((last, rest)) if !rest.is_empty() => format!("{} and {last}", rest.join(", ")),
        _ => quoted.concat(),
    }
}

/// `key`, `key = value` or `key(..)`.
pub(crate) struct Pair {
    pub(crate) key: Ident,
    value: Value,
}

enum Value {
    None,
    Expr(Expr),
    List(Punctuated<Amount, Token![,]>),
}

/// The pairs of an attribute's arguments. A key that is given twice is an error and left out the second time.
pub(crate) fn pairs(attribute: TokenStream, diagnostics: &mut Diagnostics) -> Vec<Pair> {
    let pairs = match Punctuated::<Pair, Token![,]>::parse_terminated.parse2(attribute) {
        Ok(pairs) => pairs,
        Err(error) => {
            diagnostics.push(error);
            return Vec::new();
        }
    };
    let mut seen = HashSet::new();
    let mut once = Vec::new();
    for pair in pairs {
        if seen.insert(pair.key.to_string()) {
            once.push(pair);
        } else {
            diagnostics.at(&pair.key, format!("`{}` is given twice", pair.key));
        }
    }
    once
}

impl Pair {
    /// A non-empty string.
    pub(crate) fn text(&self, example: &str) -> Result<LitStr> {
        match &self.value {
            Value::Expr(Expr::Lit(ExprLit { lit: Lit::Str(text), .. })) if !text.value().is_empty() => {
                Ok(text.clone())
            }
            _ => Err(self.wrong(example)),
        }
    }

    /// When an actor's state is kept: an expression of type `Checkpoints`.
    pub(crate) fn checkpoints(&self) -> Result<TokenStream> {
        let example = "checkpoint`, `checkpoint = 100` or `checkpoint = \"on_demand\"";
        match &self.value {
            Value::None => Ok(quote!(::fdbray::__private::Checkpoints::Every(1))),
            Value::Expr(Expr::Lit(ExprLit { lit: Lit::Str(text), .. })) if text.value() == "on_demand" => {
                Ok(quote!(::fdbray::__private::Checkpoints::OnDemand))
            }
            _ => {
                let n = self.positive(example)?;
                Ok(quote!(::fdbray::__private::Checkpoints::Every(#n)))
            }
        }
    }

    /// Nothing but the name.
    pub(crate) fn flag(&self, example: &str) -> Result<()> {
        match &self.value {
            Value::None => Ok(()),
            _ => Err(self.wrong(example)),
        }
    }

    /// Any expression.
    pub(crate) fn expression(&self, example: &str) -> Result<&Expr> {
        match &self.value {
            Value::Expr(value) => Ok(value),
            _ => Err(self.wrong(example)),
        }
    }

    /// A count: a literal is checked here, anything else by the compiler.
    pub(crate) fn count(&self, example: &str) -> Result<&Expr> {
        match self.expression(example)? {
            Expr::Lit(ExprLit { lit: Lit::Int(n), .. }) if n.base10_parse::<u32>().is_err() => {
                Err(self.wrong(example))
            }
            Expr::Lit(ExprLit { lit, .. }) if !matches!(lit, Lit::Int(_)) => Err(self.wrong(example)),
            Expr::Unary(ExprUnary { op: UnOp::Neg(_), .. }) => Err(self.wrong(example)),
            value => Ok(value),
        }
    }

    /// A count that is not zero.
    fn positive(&self, example: &str) -> Result<&Expr> {
        match self.count(example)? {
            Expr::Lit(ExprLit { lit: Lit::Int(n), .. }) if n.base10_digits() == "0" => {
                Err(self.wrong(example))
            }
            value => Ok(value),
        }
    }

    /// The error for a key that the attribute does not have.
    pub(crate) fn unknown(&self, key: &str, known: &str) -> syn::Error {
        syn::Error::new(self.key.span(), format!("there is no option `{key}`; the options are {known}"))
    }

    fn wrong(&self, example: &str) -> syn::Error {
        let message = format!("`{}` is written like `{example}`", self.key);
        match &self.value {
            Value::Expr(value) => syn::Error::new_spanned(value, message),
            Value::None | Value::List(_) => syn::Error::new(self.key.span(), message),
        }
    }

    fn ident(&self, example: &str) -> Result<Ident> {
        match &self.value {
            Value::Expr(Expr::Path(path)) => {
                path.path.get_ident().cloned().ok_or_else(|| self.wrong(example))
            }
            _ => Err(self.wrong(example)),
        }
    }

    fn switch(&self, example: &str) -> Result<&Expr> {
        match self.expression(example)? {
            Expr::Lit(ExprLit { lit, .. }) if !matches!(lit, Lit::Bool(_)) => Err(self.wrong(example)),
            value => Ok(value),
        }
    }

    fn amount(&self, example: &str) -> Result<TokenStream> {
        amount(self.expression(example)?).ok_or_else(|| self.wrong(example))
    }

    fn bytes(&self) -> Result<TokenStream> {
        let example = "memory = \"2GiB\"` or `memory = 2 << 30";
        match self.expression(example)? {
            Expr::Lit(ExprLit { lit: Lit::Str(text), .. }) => {
                let n = bytes(&text.value()).ok_or_else(|| self.wrong(example))?;
                Ok(quote!(#n))
            }
            Expr::Lit(ExprLit { lit: Lit::Int(n), .. }) if n.base10_parse::<u64>().is_ok() => Ok(quote!(#n)),
            Expr::Lit(_) | Expr::Unary(ExprUnary { op: UnOp::Neg(_), .. }) => Err(self.wrong(example)),
            value => Ok(value.to_token_stream()),
        }
    }

    fn resources(&self) -> Result<Vec<TokenStream>> {
        let example = "resources(tpu = 1, \"big-disk\" = 0.5)";
        let Value::List(list) = &self.value else { return Err(self.wrong(example)) };
        let mut out = Vec::new();
        for Amount { name, value } in list {
            let n = amount(value).ok_or_else(|| {
                syn::Error::new_spanned(value, format!("`resources` is written like `{example}`"))
            })?;
            out.push(quote!((#name, #n)));
        }
        Ok(out)
    }
}

impl Parse for Pair {
    fn parse(input: ParseStream<'_>) -> Result<Self> {
        let key = Ident::parse_any(input)?;
        let value = if input.peek(Token![=]) {
            input.parse::<Token![=]>()?;
            Value::Expr(input.parse()?)
        } else if input.peek(syn::token::Paren) {
            let list;
            parenthesized!(list in input);
            Value::List(list.parse_terminated(Amount::parse, Token![,])?)
        } else {
            Value::None
        };
        Ok(Pair { key, value })
    }
}

/// `tpu = 1` or `"big-disk" = 0.5`.
struct Amount {
    name: LitStr,
    value: Expr,
}

impl Parse for Amount {
    fn parse(input: ParseStream<'_>) -> Result<Self> {
        let name = if input.peek(LitStr) {
            input.parse()?
        } else {
            let name = Ident::parse_any(input)?;
            LitStr::new(&name.unraw().to_string(), name.span())
        };
        input.parse::<Token![=]>()?;
        Ok(Amount { name, value: input.parse()? })
    }
}

/// An `f64` expression; whole literals are written as such. `None` for literals that are no amount.
fn amount(value: &Expr) -> Option<TokenStream> {
    match value {
        Expr::Lit(ExprLit { lit: Lit::Int(n), .. }) => whole(n).map(ToTokens::into_token_stream),
        Expr::Lit(ExprLit { lit: Lit::Float(n), .. }) => Some(quote!(#n)),
        Expr::Lit(_) | Expr::Unary(ExprUnary { op: UnOp::Neg(_), .. }) => None,
        value => Some(quote!(#value)),
    }
}

fn whole(n: &LitInt) -> Option<proc_macro2::Literal> {
    let mut literal = proc_macro2::Literal::f64_suffixed(f64::from(n.base10_parse::<u32>().ok()?));
    literal.set_span(Span::call_site().located_at(n.span()));
    Some(literal)
}

/// `2GiB` and the like, in bytes.
fn bytes(text: &str) -> Option<u64> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let unit = match text[digits..].trim() {
        "" | "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        "TiB" => 1 << 40,
        "kB" | "KB" => 1_000,
        "MB" => 1_000_000,
        "GB" => 1_000_000_000,
        "TB" => 1_000_000_000_000,
        _ => return None,
    };
    text[..digits].parse::<u64>().ok()?.checked_mul(unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_binary_and_decimal_units() {
        assert_eq!(bytes("2GiB"), Some(2 << 30));
        assert_eq!(bytes("5 MB"), Some(5_000_000));
        assert_eq!(bytes("17"), Some(17));
        for wrong in ["", "GiB", "2 gigs", "-1", "99999999999TiB"] {
            assert_eq!(bytes(wrong), None, "{wrong}");
        }
    }
}
