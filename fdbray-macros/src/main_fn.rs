//! `#[fdbray::main]`: a `fn main` that is the driver's or a worker's, as the process was started.

use crate::{
    diagnostics::Diagnostics,
    options::{Pair, pairs},
};
use proc_macro2::TokenStream;
use quote::{quote, quote_spanned};
use syn::{Error, ItemFn, Result, parse2, spanned::Spanned};

/// The `main`, or everything that is wrong with it.
pub(crate) fn expand(attribute: TokenStream, item: TokenStream) -> TokenStream {
    let mut diagnostics = Diagnostics::default();
    let cluster = cluster(attribute, &mut diagnostics);
    let function: ItemFn = match parse2(item.clone()) {
        Ok(function) => function,
        Err(error) => {
            let error = Error::new(error.span(), "`#[fdbray::main]` goes on `async fn main()`");
            let error = error.into_compile_error();
            return quote!(#item #error);
        }
    };
    let signature = &function.sig;
    if signature.ident != "main" {
        diagnostics.at(&signature.ident, "`#[fdbray::main]` goes on the function `main`");
    }
    if signature.asyncness.is_none() {
        diagnostics.at(signature.fn_token, "`#[fdbray::main]` goes on an `async fn`; add `async`");
    }
    if !signature.inputs.is_empty() {
        diagnostics.at(
            &signature.inputs,
            "`main` has no parameters; read arguments with `std::env::args()` (those of workers begin with `--worker`)",
        );
    }
    if !signature.generics.params.is_empty() {
        diagnostics.at(&signature.generics, "`main` cannot be generic");
    }
    if let Some(errors) = diagnostics.into_tokens() {
        // A `main` beside the errors, so that its absence is not reported too.
        return quote!(fn main() {} #errors);
    }
    let ItemFn { attrs, vis, sig, block } = &function;
    let output = &sig.output;
    let span = match output {
        syn::ReturnType::Default => sig.ident.span(),
        syn::ReturnType::Type(_, ty) => ty.span(),
    };
    let run = quote_spanned!(span=> ::fdbray::__private::main(#cluster, __fdbray_main));
    quote! {
        #(#attrs)*
        #vis fn main() -> ::std::process::ExitCode {
            async fn __fdbray_main() #output #block
            #run
        }
    }
}

/// An expression of type `Option<&str>`.
fn cluster(attribute: TokenStream, diagnostics: &mut Diagnostics) -> TokenStream {
    let example = "cluster = \"lmdb:///var/lib/app?cluster=demo\"";
    let mut cluster = quote!(::core::option::Option::None);
    let mut set = |pair: &Pair| -> Result<()> {
        match pair.key.to_string().as_str() {
            "cluster" => {
                let url = pair.expression(example)?;
                cluster = quote!(::core::option::Option::Some(#url));
                Ok(())
            }
            other => Err(pair.unknown(other, "`cluster`")),
        }
    };
    for pair in pairs(attribute, diagnostics) {
        if let Err(error) = set(&pair) {
            diagnostics.push(error);
        }
    }
    cluster
}
