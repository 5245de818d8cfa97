//! What `#[actor]` puts beside the impl block.

use super::{
    model::{Actor, Function, Method, reach},
    own_type,
    setters::setters,
};
use crate::registered::{self, Registered};
use proc_macro2::TokenStream;
use quote::{format_ident, quote, quote_spanned};
use syn::{Ident, Visibility, ext::IdentExt, spanned::Spanned};

/// How many calls of a `&self` method run at once unless it says otherwise.
const CONCURRENCY: u32 = 256;

impl Actor {
    /// The handle, the options, and what creates actors.
    pub(super) fn expand(&self) -> TokenStream {
        let (handle, options, creators) = (self.handle(), self.options(), self.creators());
        quote!(#creators #handle #options)
    }

    fn handle_name(&self) -> Ident {
        format_ident!("{}Handle", self.name.unraw(), span = self.name.span())
    }

    fn options_name(&self) -> Ident {
        format_ident!("{}Options", self.name.unraw(), span = self.name.span())
    }

    /// The functions of the type that create actors.
    fn creators(&self) -> TokenStream {
        let Actor { ty, visibility, carried, .. } = self;
        let (handle, options) = (self.handle_name(), self.options_name());
        let creators = self.constructors.iter().map(|constructor| {
            let (remote, visibility) = (constructor.remote(), self.at_most(&constructor.visibility));
            let (attributes, doc) = (&constructor.attributes, self.creates(constructor));
            let (parameters, names) = (registered::parameters(&constructor.model), constructor.model.names());
            quote! {
                #doc
                #(#attributes)*
                #visibility fn #remote(#(#parameters),*) -> #handle {
                    Self::options().#remote(#(#names),*)
                }
            }
        });
        let allowed = allowed();
        quote! {
            #(#carried)*
            #[automatically_derived]
            #allowed
            impl #ty {
                #(#creators)*
                /// Options for the creation of an actor, which take the place of what the constructor's attribute says.
                #visibility fn options() -> #options {
                    #options(::fdbray::__private::Creation::new())
                }
            }
        }
    }

    /// The handle and its methods.
    fn handle(&self) -> TokenStream {
        let Actor { ty, name, visibility, carried, .. } = self;
        let handle = self.handle_name();
        let methods = self.methods.iter().map(|method| self.method(method));
        let state = self.state();
        // No other attribute goes on an impl block of a trait.
        let conditions: Vec<_> = carried.iter().filter(|a| a.path().is_ident("cfg")).collect();
        // `Deserialize` is not said to be derived: clippy would warn of the `unsafe` that registration expands to.
        let doc = format!(
            "A handle of an actor, a remote `{}`: see [`fdbray::actor`](macro@::fdbray::actor).",
            name.unraw()
        );
        let allowed = allowed();
        quote! {
            #[doc = #doc]
            #(#carried)*
            #[derive(::core::clone::Clone, ::core::fmt::Debug)]
            #[must_use = "an actor ends when its last handle is dropped"]
            #allowed
            #visibility struct #handle(::fdbray::__private::Actor);
            #(#carried)*
            #[automatically_derived]
            #allowed
            impl #handle {
                #state
                #(#methods)*
            }
            #(#conditions)*
            #[allow(deprecated)]
            #[automatically_derived]
            impl ::fdbray::__private::ActorHandle for #handle {
                fn __actor(&self) -> &::fdbray::__private::Actor {
                    &self.0
                }
                fn __of(actor: ::fdbray::__private::Actor) -> Self {
                    #handle(actor)
                }
                fn __type_name() -> &'static str {
                    ::core::any::type_name::<#ty>()
                }
            }
            #(#conditions)*
            #[allow(deprecated)]
            #[automatically_derived]
            impl ::fdbray::__private::serde::Serialize for #handle {
                fn serialize<S: ::fdbray::__private::serde::Serializer>(
                    &self,
                    serializer: S,
                ) -> ::core::result::Result<S::Ok, S::Error> {
                    ::fdbray::__private::serde::Serialize::serialize(&self.0, serializer)
                }
            }
            #(#conditions)*
            #[allow(deprecated)]
            impl<'de> ::fdbray::__private::serde::Deserialize<'de> for #handle {
                fn deserialize<D: ::fdbray::__private::serde::Deserializer<'de>>(
                    deserializer: D,
                ) -> ::core::result::Result<Self, D::Error> {
                    ::fdbray::__private::serde::Deserialize::deserialize(deserializer).map(#handle)
                }
            }
        }
    }

    /// The options, their setters, and what creates an actor with them.
    fn options(&self) -> TokenStream {
        let Actor { name, visibility, carried, .. } = self;
        let options = self.options_name();
        let setters = setters(visibility);
        let constructors = self.constructors.iter().map(|constructor| self.constructor(constructor));
        let doc = format!(
            "Options for the creation of a remote `{}`: see [`fdbray::actor`](macro@::fdbray::actor).",
            name.unraw()
        );
        let allowed = allowed();
        quote! {
            #[doc = #doc]
            #(#carried)*
            #[derive(::core::clone::Clone, ::core::fmt::Debug)]
            #[must_use = "options do nothing until an actor is created"]
            #allowed
            #visibility struct #options(::fdbray::__private::Creation);
            #(#carried)*
            #[automatically_derived]
            #allowed
            impl #options {
                #(#constructors)*
                #setters
            }
        }
    }

    /// A constructor, called with options, and its registration.
    fn constructor(&self, constructor: &Function) -> TokenStream {
        let Actor { ty, .. } = self;
        let Function { ident, attributes, model, options, .. } = constructor;
        let restored = self.checkpoints.map(|_| self.restored());
        let (handle, remote, cell) = (self.handle_name(), constructor.remote(), self.cell());
        let (get_or_create, function) = (constructor.get_or_create(), constructor.registered());
        let get_doc = format!(
            "The actor that has the [name](Self::name) which was given, or, if none has it, one made with `{}::{}`. However many \
             do this at once, one is made. Fails if the name is that of an actor of another type.",
            self.name.unraw(),
            ident.unraw()
        );
        let get_doc = quote!(#[doc = #get_doc]);
        let (visibility, doc) = (self.at_most(&constructor.visibility), self.creates(constructor));
        let (parameters, types, whole) =
            (registered::parameters(model), model.types(), model.returns.whole());
        let arguments = arguments(constructor, &quote!(__function));
        let registered = Registered {
            model,
            role: quote!(Constructor),
            name: self.name(constructor),
            signature: quote!(fn(#(#types),*) -> #whole),
            defaults: options.defaults(),
            before: restored,
            callee: quote!(<#ty>::#ident),
            receiver: None,
            answer: quote!(#handle::__STATE.install(::fdbray::__private::#cell::new(__value), __function)),
        };
        let registered = registered.expand();
        quote! {
            #doc
            #(#attributes)*
            #visibility fn #remote(&self, #(#parameters),*) -> #handle {
                let __encoding = self.0.encoding();
                let __function = Self::#function();
                #handle(self.0.create::<#ty, _>(__function, #arguments))
            }
            #get_doc
            #(#attributes)*
            #visibility fn #get_or_create(&self, #(#parameters),*) -> ::fdbray::__private::Creating<#handle> {
                let __encoding = self.0.encoding();
                let __function = Self::#function();
                self.0.get_or_create::<#ty, #handle, _>(__function, #arguments)
            }
            #[doc(hidden)]
            #(#attributes)*
            fn #function() -> &'static ::fdbray::__private::Function {
                #registered
                &__FUNCTION
            }
        }
    }

    /// What comes before a constructor, where an actor is made from a checkpoint in its place.
    fn restored(&self) -> TokenStream {
        let handle = self.handle_name();
        quote! {
            if let ::core::option::Option::Some(__answer) = #handle::__STATE.restored(&__input, __function) {
                return __answer;
            }
        }
    }

    /// A method of the handle, and its registration.
    fn method(&self, method: &Method) -> TokenStream {
        let Actor { ty, .. } = self;
        let Function { ident, visibility, attributes, model, options } = &method.function;
        let (handle, arguments) = (self.handle_name(), arguments(&method.function, &quote!(&__FUNCTION)));
        let (parameters, types, value) =
            (registered::parameters(model), model.types(), model.returns.value());
        let doc = self.undocumented(&method.function, "Calls", "of the actor");
        let (role, signature, receiver, state) = if method.exclusive {
            let state = quote!(let mut __state = __cell.exclusive(__function)?;);
            (quote!(Exclusive), quote!(&mut #ty), quote!(&mut *__state), state)
        } else {
            let state = quote!(let __state = __cell.shared(__function)?;);
            let n = options.concurrency.as_ref().map_or_else(|| quote!(#CONCURRENCY), |n| quote!(#n));
            (quote!(Shared(#n)), quote!(&#ty), quote!(&*__state), state)
        };
        let registered = Registered {
            model,
            role,
            name: self.name(&method.function),
            signature: quote!(fn(#signature, #(#types),*) -> #value),
            defaults: options.defaults(),
            before: Some(quote! {
                let __cell = (#handle::__STATE.of)(&__input)?;
                #state
            }),
            callee: quote!(<#ty>::#ident),
            receiver: Some(receiver),
            answer: registered::value(&model.returns),
        };
        let registered = registered.expand();
        quote! {
            #doc
            #(#attributes)*
            #visibility fn #ident(&self, #(#parameters),*) -> ::fdbray::__private::RemoteFuture<#value> {
                #registered
                ::fdbray::__private::method(&__FUNCTION, &self.0, #arguments)
            }
        }
    }

    /// How entry points get at the state. `Sync` is asked of it only where methods run beside each other, and missed at
    /// the first of those.
    fn state(&self) -> TokenStream {
        let (ty, cell) = (&self.ty, self.cell());
        let access = match self.methods.iter().find(|method| !method.exclusive) {
            None => quote_spanned!(ty.span()=> ::fdbray::__private::state_of_an_actor::<#ty>()),
            Some(shared) => {
                let span = shared.receiver.span();
                let ty = own_type::at(ty, span);
                quote_spanned!(span=> ::fdbray::__private::state_of_an_actor_with_shared_methods::<#ty>())
            }
        };
        let lasting = self.checkpoints.map(|span| {
            let lasting = if self.is_alone() { "lasting_alone" } else { "lasting_together" };
            let (lasting, ty) = (Ident::new(lasting, span), own_type::at(ty, span));
            quote_spanned!(span=> .lasting(::fdbray::__private::#lasting::<#ty>()))
        });
        quote! {
            const __STATE: ::fdbray::__private::Access<::fdbray::__private::#cell<#ty>> = #access #lasting;
        }
    }

    /// What the state is in.
    fn cell(&self) -> Ident {
        if self.is_alone() { format_ident!("Alone") } else { format_ident!("Together") }
    }

    /// Whether all its methods run alone.
    fn is_alone(&self) -> bool {
        self.methods.iter().all(|method| method.exclusive)
    }

    /// The stable name: the type's path and the function's name, unless it was given.
    fn name(&self, function: &Function) -> TokenStream {
        let (ty, name) = (&self.ty, function.ident.unraw().to_string());
        match &function.options.name {
            Some(name) => quote!(#name),
            None => quote! {{
                static __NAME: ::fdbray::__private::OnceLock<::std::string::String> =
                    ::fdbray::__private::OnceLock::new();
                ::fdbray::__private::name::<#ty>(&__NAME, #name)
            }},
        }
    }

    /// What a constructor without documentation does.
    fn creates(&self, constructor: &Function) -> Option<TokenStream> {
        self.undocumented(constructor, "Creates an actor with", "and returns its handle at once")
    }

    fn undocumented(&self, function: &Function, does: &str, how: &str) -> Option<TokenStream> {
        let doc = format!("{does} `{}::{}` {how}.", self.name.unraw(), function.ident.unraw());
        (!function.is_documented()).then(|| quote!(#[doc = #doc]))
    }

    /// `visibility`, or that of the handle, which what gives one cannot exceed.
    fn at_most<'a>(&'a self, visibility: &'a Visibility) -> &'a Visibility {
        if reach(visibility) > reach(&self.visibility) { &self.visibility } else { visibility }
    }
}

/// The arguments that a stub was given, encoded for the function that is `registered`.
fn arguments(function: &Function, registered: &TokenStream) -> TokenStream {
    let arguments = function.model.parameters.iter().enumerate().map(|(i, parameter)| {
        let (name, ty, number) = (&parameter.name, &parameter.ty, i + 1);
        quote!(::fdbray::__private::argument::<#ty>(#name, #number, #registered))
    });
    quote!([#(#arguments),*])
}

/// What generated code may do that the user's lints forbid. The visibility of the handle is a guess, which may show more
/// than the types in the methods' signatures do.
fn allowed() -> TokenStream {
    quote! {
        #[allow(
            dead_code,
            deprecated,
            unreachable_pub,
            private_interfaces,
            private_bounds,
            clippy::too_many_arguments,
            clippy::type_complexity,
            clippy::double_must_use,
            clippy::must_use_candidate,
            clippy::return_self_not_must_use
        )]
    }
}
