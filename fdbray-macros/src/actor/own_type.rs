//! `Self` in a signature, said by name: what is generated from the signature stands outside the impl block.

use proc_macro2::Span;
use syn::{
    Expr, Ident, Path, Receiver, Signature, Type, TypePath, parse_quote_spanned,
    spanned::Spanned,
    visit_mut::{self, VisitMut},
};

/// `signature` with `ty` for `Self`.
pub(super) fn named(signature: &Signature, ty: &Type) -> Signature {
    let mut signature = signature.clone();
    OwnType(ty).visit_signature_mut(&mut signature);
    signature
}

/// `ty` as if it were written elsewhere, so that messages point there.
pub(super) fn at(ty: &Type, span: Span) -> Type {
    let mut ty = ty.clone();
    Respan(span).visit_type_mut(&mut ty);
    ty
}

struct OwnType<'a>(&'a Type);

impl OwnType<'_> {
    /// `<Type>::Rest` for `Self::Rest`.
    fn qualified<T: syn::parse::Parse>(&self, path: &Path) -> Option<T> {
        let first = path.segments.first().filter(|first| first.ident == "Self" && path.segments.len() > 1)?;
        let ty = at(self.0, first.ident.span());
        let rest = path.segments.iter().skip(1);
        Some(parse_quote_spanned!(path.span()=> <#ty> #(:: #rest)*))
    }
}

impl VisitMut for OwnType<'_> {
    /// Stays: nothing is generated from it.
    fn visit_receiver_mut(&mut self, _: &mut Receiver) {}

    fn visit_type_mut(&mut self, ty: &mut Type) {
        if let Type::Path(TypePath { qself: None, path }) = ty {
            if path.is_ident("Self") {
                *ty = at(self.0, path.span());
                return;
            }
            if let Some(qualified) = self.qualified(path) {
                *ty = qualified;
            }
        }
        visit_mut::visit_type_mut(self, ty);
    }

    fn visit_expr_mut(&mut self, expression: &mut Expr) {
        if let Expr::Path(path) = expression
            && path.qself.is_none()
            && let Some(qualified) = self.qualified(&path.path)
        {
            *expression = qualified;
        }
        visit_mut::visit_expr_mut(self, expression);
    }
}

/// Puts everything at one place; what names resolve to stays.
struct Respan(Span);

impl VisitMut for Respan {
    fn visit_ident_mut(&mut self, ident: &mut Ident) {
        ident.set_span(ident.span().located_at(self.0));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use quote::ToTokens;
    use syn::parse_quote;

    #[test]
    fn self_is_replaced_wherever_it_stands() {
        let signature = parse_quote! {
            fn f(&self, a: Vec<Self>, b: [u8; Self::N + 1], c: Self::Item<Self>, d: &Self) -> Result<Self, E>
        };
        let expected: Signature = parse_quote! {
            fn f(&self, a: Vec<m::Own>, b: [u8; <m::Own>::N + 1], c: <m::Own>::Item<m::Own>, d: &m::Own)
                -> Result<m::Own, E>
        };
        let named = named(&signature, &parse_quote!(m::Own));
        assert_eq!(named.to_token_stream().to_string(), expected.to_token_stream().to_string());
    }
}
