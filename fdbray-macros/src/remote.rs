//! `#[remote]`: beside the function `f`, a type `f` with `remote`, `map` and `options`, and its registration.

use crate::{
    diagnostics::Diagnostics,
    model::{self, Model, Returns},
    options::RemoteOptions,
};
use proc_macro2::{Span, TokenStream};
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
    let options = RemoteOptions::parse(attribute, &mut diagnostics);
    let model = Model::read(&function.sig, &mut diagnostics);
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
    options: &'a RemoteOptions,
}

impl Remote<'_> {
    /// The type with `remote`, `map` and `options`.
    fn stub(&self) -> TokenStream {
        let Remote { function, stub, visibility, carried, model, .. } = self;
        let (names, types, value) = (model.names(), model.types(), model.returns.value());
        let parameters = model.parameters.iter().map(|p| {
            let (name, ty) = (&p.name, &p.ty);
            let bound = quote_spanned!(ty.span()=> impl ::fdbray::__private::IntoArg<#ty>);
            quote!(#name: #bound)
        });
        let doc = format!(
            "Calls [`{}()`](fn@{}) in other processes: see [`fdbray::remote`](::fdbray::remote).",
            function.unraw(),
            function.unraw()
        );
        let map = self.map();
        let (entry, kind, checks) = (self.entry(), self.kind(), self.checks());
        let (name, defaults) = (self.name(), self.options.defaults());
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
                    #entry
                    #checks
                    static __FUNCTION: ::fdbray::__private::Function = ::fdbray::__private::Function {
                        role: ::fdbray::__private::Role::Function,
                        name: || #name,
                        signature: || ::core::any::type_name::<fn(#(#types),*) -> #value>(),
                        file: ::core::file!(),
                        line: ::core::line!(),
                        entry: ::fdbray::__private::Entry::#kind(__fdbray_entry),
                        options: #defaults,
                        template: ::fdbray::__private::OnceLock::new(),
                    };
                    ::fdbray::__private::inventory::submit! {
                        ::fdbray::__private::Registered(&__FUNCTION)
                    }
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

    fn kind(&self) -> TokenStream {
        if self.model.asyncness.is_some() { quote!(Async) } else { quote!(Sync) }
    }

    /// The function from encoded arguments to an encoded result.
    fn entry(&self) -> TokenStream {
        let function = self.function;
        let locals: Vec<_> = (0..self.model.parameters.len()).map(|i| format_ident!("__a{i}")).collect();
        let mutable = (!locals.is_empty()).then(|| quote!(mut));
        let decode = self.model.parameters.iter().zip(&locals).map(|(parameter, local)| {
            let (ty, name) = (&parameter.ty, parameter.name.unraw().to_string());
            let (read, cast) = if parameter.borrowed {
                let cast = quote! {
                    {
                        #[allow(unused_imports)]
                        use ::fdbray::__private::NoBits as _;
                        ::fdbray::__private::Bits::<#ty>::CAST
                    }
                };
                (quote!(borrowed), Some(cast))
            } else {
                (quote!(value), None)
            };
            // Only the path is spanned at the type: a local's name resolves where it is written, and where a macro put
            // in the type that is elsewhere.
            let read = quote_spanned!(ty.span()=> ::fdbray::__private::#read::<#ty>);
            quote!(let #local = #read(&mut __input, #name, #cast)?;)
        });
        let arguments = self
            .model
            .parameters
            .iter()
            .zip(&locals)
            .map(|(parameter, local)| if parameter.borrowed { quote!(&*#local) } else { quote!(#local) });
        let awaited = self.model.asyncness.map(|_| quote!(.await));
        let reply = reply(&self.model.returns);
        let body = quote! {
            let __function = __input.function();
            #(#decode)*
            ::core::mem::drop(__input);
            #[allow(clippy::let_unit_value)]
            let __returned = #function(#(#arguments),*)#awaited;
            #reply
        };
        match self.model.asyncness {
            None => quote! {
                fn __fdbray_entry(#mutable __input: ::fdbray::__private::Input) -> ::fdbray::__private::Output {
                    #body
                }
            },
            Some(span) => {
                // A body that is not `Send` is reported at the function's `async`.
                let local = Ident::new("__body", span.resolved_at(Span::call_site()));
                let send = quote_spanned!(span=> ::fdbray::__private::send(#local));
                quote! {
                    fn __fdbray_entry(
                        #mutable __input: ::fdbray::__private::Input,
                    ) -> ::fdbray::__private::OutputFuture {
                        let #local = async move { #body };
                        #send
                    }
                }
            }
        }
    }

    /// Checks at compile time, whose errors point at the user's types.
    fn checks(&self) -> TokenStream {
        let whole = self.model.returns.whole();
        let error = quote_spanned! {self.model.returns.error_span()=>
            ::fdbray::__private::assert_error::<<__Kind as ::fdbray::__private::Returns<#whole>>::Err>()
        };
        let agrees = match self.model.returns.said_value() {
            Some(value) => quote_spanned! {whole.span()=>
                ::fdbray::__private::assert_gives::<#whole, #value>()
            },
            None if self.model.returns.says_result() => TokenStream::new(),
            None => quote_spanned! {whole.span()=>
                if __FALLIBLE {
                    ::core::panic!("this return type is `Result` under another name: write it as `Result<..>` (or any \
                        path that ends in `Result`), so that a call gives a `RemoteFuture` of its `Ok` type")
                }
            },
        };
        quote! {
            const _: () = {
                #[allow(unused_imports)]
                use ::fdbray::__private::Plain as _;
                const __FALLIBLE: bool = ::fdbray::__private::Probe::<#whole>::FALLIBLE;
                type __Kind = ::fdbray::__private::Kind<__FALLIBLE>;
                #agrees;
                #error;
            };
        }
    }
}

/// An expression of type `Output` from `__returned`.
fn reply(returns: &Returns) -> TokenStream {
    let whole = returns.whole();
    let result = quote_spanned! {returns.value_span()=>
        ::fdbray::__private::result::<<__Kind as ::fdbray::__private::Returns<#whole>>::Value>
    };
    quote! {{
        #[allow(unused_imports)]
        use ::fdbray::__private::{AnyError as _, NoError as _, OwnError as _, Plain as _, TypedError as _};
        type __Kind = ::fdbray::__private::Kind<{ ::fdbray::__private::Probe::<#whole>::FALLIBLE }>;
        #[allow(clippy::ignored_unit_patterns)]
        match <__Kind as ::fdbray::__private::Returns<#whole>>::split(__returned) {
            ::core::result::Result::Ok(__value) => #result(&__value, __function),
            ::core::result::Result::Err(__error) => {
                let mut __failure = ::fdbray::__private::Failure::new(__error);
                let __failure = (&mut &mut &mut &mut __failure).failure();
                ::core::result::Result::Err(::fdbray::__private::failed(__failure, __function))
            }
        }
    }}
}
