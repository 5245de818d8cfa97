//! `#[actor]`: beside an impl block of a type, a handle whose methods call those of the block in the process where the
//! actor is, options for the creation of actors, and the registration of both.

mod expand;
mod model;
mod own_type;
mod setters;

use crate::diagnostics::Diagnostics;
use model::Actor;
use proc_macro2::TokenStream;
use quote::quote;
use syn::{Error, ItemImpl, parse2};

/// The impl block, and what makes the type an actor; or the block and everything that is wrong with it.
pub(crate) fn expand(attribute: TokenStream, item: TokenStream) -> TokenStream {
    let mut block: ItemImpl = match parse2(item.clone()) {
        Ok(block) => block,
        Err(error) => {
            let message = "`#[actor]` goes on an `impl Type { .. }` block; inside such a block it gives a function's options";
            let error = Error::new(error.span(), message).into_compile_error();
            return quote!(#item #error);
        }
    };
    let mut diagnostics = Diagnostics::default();
    let actor = Actor::read(attribute, &mut block, &mut diagnostics);
    match (actor, diagnostics.into_tokens()) {
        (Some(actor), None) => {
            let expanded = actor.expand();
            quote!(#block #expanded)
        }
        (_, errors) => quote!(#block #errors),
    }
}
