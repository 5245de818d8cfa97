//! `#[remote]`: beside the function `f`, a type `f` with `remote`, `map` and `options`, and its registration.

use crate::{
    diagnostics::Diagnostics,
    model::{self, Model, Subject},
    options::Options,
    registered::{self, Registered},
};
use proc_macro2::TokenStream;
use quote::{format_ident, quote, quote_spanned};
use syn::{Attribute, Error, Ident, ItemFn, Visibility, ext::IdentExt, parse2, spanned::Spanned};

/// The function, and what makes it remote; or the function and everything that is wrong with it.
pub(crate) fn expand(attribute: TokenStream, item: TokenStream) -> TokenStream {
    let function: ItemFn = match parse2(item.clone()) {
        Ok(function) => function,
        Err(error) => {
            let error = Error::new(error.span(), "`#[remote]` goes on a function with a body");
            let error = error.into_compile_error();
            return quote!(#item #error);
        }
    };
    let mut diagnostics = Diagnostics::default();
    let options = Options::of_function(attribute, &mut diagnostics);
    let model = Model::read(Subject::Function, &function.sig, &mut diagnostics);
    if let Some(errors) = diagnostics.into_tokens() {
        return quote!(#function #errors);
    }
    let remote = Remote {
        function: &function.sig.ident,
        stub: options.stub.as_ref().unwrap_or(&function.sig.ident),
        visibility: &function.vis,
        carried: model::carried(&function.attrs),
        model,
        options: &options,
    };
    let stub = remote.stub();
    quote!(#function #stub)
}

/// A remote function without anything wrong.
struct Remote<'a> {
    function: &'a Ident,
    stub: &'a Ident,
    visibility: &'a Visibility,
    carried: Vec<&'a Attribute>,
    model: Model,
    options: &'a Options,
}

impl Remote<'_> {
    /// The type with `remote`, `map` and `options`.
    fn stub(&self) -> TokenStream {
        let Remote { function, stub, visibility, carried, model, .. } = self;
        let (names, types, value) = (model.names(), model.types(), model.returns.value());
        let parameters = registered::parameters(model);
        let doc = format!(
            "Calls [`{}()`](fn@{}) in other processes: see [`fdbray::remote`](::fdbray::remote).",
            function.unraw(),
            function.unraw()
        );
        let map = self.map();
        let registered = Registered {
            model,
            role: quote!(Function),
            name: self.name(),
            signature: quote!(fn(#(#types),*) -> #value),
            defaults: self.options.defaults(),
            before: None,
            callee: quote!(#function),
            receiver: None,
            answer: registered::value(&model.returns),
        };
        let registered = registered.expand();
        quote! {
            #[doc = #doc]
            #(#carried)*
            #[allow(non_camel_case_types, dead_code, unreachable_pub, missing_debug_implementations)]
            #visibility enum #stub {}
            #(#carried)*
            #[automatically_derived]
            #[allow(dead_code, deprecated, unreachable_pub, clippy::too_many_arguments, clippy::type_complexity)]
            impl #stub {
                /// Submits one call and returns its future; never blocks.
                #visibility fn remote(#(#parameters),*) -> ::fdbray::__private::RemoteFuture<#value> {
                    Self::options().remote(#(#names),*)
                }
                #map
                /// Calls with other options than the function's own.
                #visibility fn options() -> ::fdbray::__private::Call<fn(#(#types),*) -> #value> {
                    #registered
                    ::fdbray::__private::call(&__FUNCTION)
                }
            }
        }
    }

    /// `map`, which takes values for one parameter and tuples for more.
    fn map(&self) -> TokenStream {
        let (visibility, types, value) = (self.visibility, self.model.types(), self.model.returns.value());
        let generics: Vec<_> = (0..types.len()).map(|i| format_ident!("A{i}")).collect();
        let (doc, item) = match types.len() {
            0 => return TokenStream::new(),
            1 => ("Submits one call per item as one batch.", quote!(#(#generics)*)),
            _ => ("Submits one call per tuple of arguments as one batch.", quote!((#(#generics),*))),
        };
        let bounds = types.iter().zip(&generics).map(|(ty, generic)| {
            let bound = quote_spanned!(ty.span()=> ::fdbray::__private::IntoArg<#ty>);
            quote!(#generic: #bound)
        });
        quote! {
            #[doc = #doc]
            #visibility fn map<#(#bounds),*>(
                calls: impl ::core::iter::IntoIterator<Item = #item>,
            ) -> ::std::vec::Vec<::fdbray::__private::RemoteFuture<#value>> {
                Self::options().map(calls)
            }
        }
    }

    /// The stable name: the function's path, unless it was given.
    fn name(&self) -> TokenStream {
        let (function, stub) = (self.function, self.stub);
        match &self.options.name {
            Some(name) => quote!(#name),
            None if function == stub => quote!(::core::any::type_name::<#stub>()),
            None => {
                quote!(::core::concat!(::core::module_path!(), "::", ::core::stringify!(#function)))
            }
        }
    }
}
