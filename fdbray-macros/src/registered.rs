//! What a worker runs: a function's entry point from encoded arguments to an encoded result, and its registration.

use crate::model::{Model, Parameter, Returns};
use proc_macro2::{Span, TokenStream};
use quote::{format_ident, quote, quote_spanned};
use syn::{Ident, ext::IdentExt, spanned::Spanned};

/// A function without anything wrong, on its way into the registry.
pub(crate) struct Registered<'a> {
    pub(crate) model: &'a Model,
    /// A variant of `Role`.
    pub(crate) role: TokenStream,
    /// An expression: its stable name.
    pub(crate) name: TokenStream,
    /// A type that says what it takes and gives.
    pub(crate) signature: TokenStream,
    /// An expression of type `Defaults`.
    pub(crate) defaults: TokenStream,
    /// Statements that come before the arguments are read.
    pub(crate) before: Option<TokenStream>,
    pub(crate) callee: TokenStream,
    /// What comes before the arguments.
    pub(crate) receiver: Option<TokenStream>,
    /// An expression of type `Output` from `__value`.
    pub(crate) answer: TokenStream,
}

impl Registered<'_> {
    /// Items for the body of a function: the static `__FUNCTION`, which is in the registry, and what it needs.
    pub(crate) fn expand(&self) -> TokenStream {
        let (entry, checks) = (self.entry(), self.checks());
        let kind = if self.model.asyncness.is_some() { quote!(Async) } else { quote!(Sync) };
        let Registered { role, name, signature, defaults, .. } = self;
        quote! {
            #entry
            #checks
            static __FUNCTION: ::fdbray::__private::Function = ::fdbray::__private::Function {
                role: ::fdbray::__private::Role::#role,
                name: || #name,
                signature: || ::core::any::type_name::<#signature>(),
                file: ::core::file!(),
                line: ::core::line!(),
                entry: ::fdbray::__private::Entry::#kind(__fdbray_entry),
                options: #defaults,
                template: ::fdbray::__private::OnceLock::new(),
            };
            ::fdbray::__private::inventory::submit! {
                ::fdbray::__private::Registered(&__FUNCTION)
            }
        }
    }

    /// The function from encoded arguments to an encoded result.
    fn entry(&self) -> TokenStream {
        let Registered { model, before, callee, answer, .. } = self;
        let locals: Vec<_> = (0..model.parameters.len()).map(|i| format_ident!("__a{i}")).collect();
        let mutable = (!locals.is_empty()).then(|| quote!(mut));
        let decode = model.parameters.iter().zip(&locals).map(|(parameter, local)| {
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
        let arguments = model.parameters.iter().zip(&locals);
        let arguments =
            arguments.map(|(p, local)| if p.borrowed { quote!(&*#local) } else { quote!(#local) });
        let arguments = self.receiver.iter().cloned().chain(arguments);
        let awaited = model.asyncness.map(|_| quote!(.await));
        let reply = reply(&model.returns, answer);
        let body = quote! {
            let __function = __input.function();
            #before
            #(#decode)*
            ::core::mem::drop(__input);
            #[allow(clippy::let_unit_value)]
            let __returned = #callee(#(#arguments),*)#awaited;
            #reply
        };
        match model.asyncness {
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
        let returns = &self.model.returns;
        let whole = returns.whole();
        let error = quote_spanned! {returns.error_span()=>
            ::fdbray::__private::assert_error::<<__Kind as ::fdbray::__private::Returns<#whole>>::Err>()
        };
        let agrees = match returns.said_value() {
            Some(value) => quote_spanned! {whole.span()=>
                ::fdbray::__private::assert_gives::<#whole, #value>()
            },
            None if returns.says_result() => TokenStream::new(),
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

/// What a stub takes: an argument for each parameter.
pub(crate) fn parameters(model: &Model) -> Vec<TokenStream> {
    let parameter = |p: &Parameter| {
        let (name, ty) = (&p.name, &p.ty);
        let bound = quote_spanned!(ty.span()=> impl ::fdbray::__private::IntoArg<#ty>);
        quote!(#name: #bound)
    };
    model.parameters.iter().map(parameter).collect()
}

/// The answer that is the value, encoded.
pub(crate) fn value(returns: &Returns) -> TokenStream {
    let whole = returns.whole();
    let result = quote_spanned! {returns.value_span()=>
        ::fdbray::__private::result::<<__Kind as ::fdbray::__private::Returns<#whole>>::Value>
    };
    quote!(#result(&__value, __function))
}

/// An expression of type `Output` from `__returned`.
fn reply(returns: &Returns, answer: &TokenStream) -> TokenStream {
    let whole = returns.whole();
    quote! {{
        #[allow(unused_imports)]
        use ::fdbray::__private::{AnyError as _, NoError as _, OwnError as _, Plain as _, TypedError as _};
        type __Kind = ::fdbray::__private::Kind<{ ::fdbray::__private::Probe::<#whole>::FALLIBLE }>;
        #[allow(clippy::ignored_unit_patterns)]
        match <__Kind as ::fdbray::__private::Returns<#whole>>::split(__returned) {
            ::core::result::Result::Ok(__value) => #answer,
            ::core::result::Result::Err(__error) => {
                let mut __failure = ::fdbray::__private::Failure::new(__error);
                let __failure = (&mut &mut &mut &mut __failure).failure();
                ::core::result::Result::Err(::fdbray::__private::failed(__failure, __function))
            }
        }
    }}
}
