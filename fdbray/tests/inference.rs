//! What compiles, and what infers without a type being said. Nothing here runs a call: the compiler is the test.

#![deny(warnings)]
#![allow(unused_qualifications)]
// Written to see what the types do with it, not for style.
#![allow(clippy::all, dead_code)]

#[path = "inference/actors.rs"]
mod actors;

use fdbray::prelude::*;
use futures_util::{StreamExt, future};
use serde::{Deserialize, Serialize};
use std::{collections::HashMap, path::PathBuf, time::Duration};

#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
struct Point {
    name: String,
}

#[remote]
fn add(x: i64, y: i64) -> i64 {
    x + y
}
#[remote]
fn identity(x: i64) -> i64 {
    x
}
#[remote]
fn scale(x: f32) -> f32 {
    x
}
#[remote]
fn name(s: String) -> String {
    s
}
#[remote]
fn option(o: Option<String>) -> bool {
    o.is_some()
}
#[remote]
fn list(v: Vec<String>) -> usize {
    v.len()
}
#[remote]
fn table(m: HashMap<String, u8>) -> usize {
    m.len()
}
#[remote]
fn array(a: [u8; 3]) -> u8 {
    a[0]
}
#[remote]
fn tuple(t: (i64, String)) -> i64 {
    t.0
}
#[remote]
fn handle(f: RemoteFuture<i64>) -> RemoteFuture<i64> {
    f
}
#[remote]
fn by_ref(p: &Point) -> usize {
    p.name.len()
}
#[remote]
fn bytes(b: &[u8]) -> usize {
    b.len()
}
#[remote]
fn floats(b: &[f32]) -> usize {
    b.len()
}
#[remote]
fn strings(b: &[String]) -> usize {
    b.len()
}
#[remote]
fn text(b: &str) -> usize {
    b.len()
}
#[remote]
async fn text_async(b: &str, p: &Point, n: u32) -> usize {
    tokio::time::sleep(Duration::from_millis(1)).await;
    b.len() + p.name.len() + n as usize
}
#[remote]
fn nothing() {}
#[remote]
fn patterns((a, b): (i64, i64), mut c: i64, _: u8) -> i64 {
    c += a;
    c + b
}
#[remote(
    name = "explicit",
    cpus = 2,
    gpus = 0.5,
    memory = "1GiB",
    resources(tpu = 1, "big-disk" = 0.5),
    retries = 5,
    retry_errors = 1,
    logs = false
)]
fn options(x: Blob) -> Slab<f32> {
    let _ = x;
    vec![].into()
}
const HALF: f64 = 0.5;
#[remote(cpus = HALF, memory = 3 << 20)]
fn fraction() -> u8 {
    1
}
#[remote]
fn io_error(p: PathBuf) -> std::io::Result<String> {
    std::fs::read_to_string(p)
}
#[remote]
fn any_error() -> anyhow::Result<u8> {
    anyhow::bail!("x")
}
#[remote]
fn string_error() -> Result<u8, String> {
    Err("x".into())
}
#[remote]
fn boxed_error() -> Result<u8, Box<dyn std::error::Error + Send + Sync>> {
    Err("x".into())
}
#[remote]
fn format_error() -> std::fmt::Result {
    Ok(())
}
#[remote]
fn own_error(x: u8) -> fdbray::Result<u8> {
    std::fs::read("x").map(|_| x).map_err(Error::application)
}
#[remote]
fn converted_error() -> fdbray::Result<u8> {
    Ok(std::fs::read("x")?[0])
}
#[remote]
#[expect(clippy::too_many_arguments)]
fn twelve(a: u8, b: u8, c: u8, d: u8, e: u8, f: u8, g: u8, h: u8, i: u8, j: u8, k: u8, l: u8) -> u8 {
    [a, b, c, d, e, f, g, h, i, j, k, l].into_iter().sum()
}
mod m {
    use fdbray::prelude::*;
    /// A function.
    #[remote]
    pub fn f(x: u8) -> u8 {
        x
    }
    #[remote]
    pub(super) fn g(x: u8) -> u8 {
        x
    }
    pub mod inner {
        use fdbray::prelude::*;
        #[remote]
        pub(in crate::m) fn h(x: u8) -> u8 {
            x
        }
    }
    pub fn t() {
        let _ = inner::h::remote(1);
    }
    pub mod parse {}
    #[remote(stub = parse_remote)]
    pub fn parse(x: u8) -> u8 {
        x
    }
}
use m::f; // a function and its type share a name
use m::g as renamed;
mod glob {
    pub use super::m::*;
}
macro_rules! made {
    ($n:ident, $t:ty) => {
        #[remote]
        fn $n(x: $t) -> $t {
            x
        }
    };
}
made!(made_i64, i64);
made!(made_string, String);
macro_rules! made_fallible {
    ($n:ident, $m:ident, $x:ty, $t:ty) => {
        #[remote]
        fn $n(x: $x) -> $t {
            Ok(x.into())
        }
        mod $m {
            use fdbray::prelude::*;
            #[remote]
            pub(super) async fn in_a_module(x: $x) -> $t {
                Ok(x.into())
            }
        }
    };
}
made_fallible!(made_result, made_module, &str, Result<String, String>);
#[cfg(any())]
#[remote]
fn not_here(x: Missing) {}
#[remote]
#[cfg(any())]
fn not_here_either(x: Missing) {}
#[remote]
#[deprecated]
fn old(x: u8) -> u8 {
    x
}

async fn arguments() -> fdbray::Result<()> {
    let x = add::remote(1, 2);
    let _ = (add::remote(1i64 + 1, &5), add::remote(-1, 1 << 4), add::remote(x.clone(), &x));
    let _ = scale::remote(2.0);
    let s = String::new();
    let _ = (name::remote("x"), name::remote(&s), name::remote(format!("{s}")), name::remote(s.as_str()));
    let _ = (option::remote(None), option::remote(Some("x".into())));
    let _ = (list::remote(vec![]), list::remote(vec!["a".into(), "b".into()]), list::remote(Vec::new()));
    let _ = list::remote(["a".to_string()].as_slice());
    let _ = table::remote(HashMap::new());
    let _ = table::remote([("a".to_string(), 1)].into_iter().collect::<HashMap<_, _>>());
    let _ = (array::remote([1, 2, 3]), tuple::remote((1, "x".into())));
    let p = Point { name: "x".into() };
    let future_of_p = fdbray::put(&p)?;
    let _ = (by_ref::remote(&p), by_ref::remote(p.clone()), by_ref::remote(&future_of_p));
    let _ = by_ref::remote(Point { name: "y".into() });
    let blob = Blob::from(vec![1]);
    let (future_of_blob, future_of_vec) = (fdbray::put(&blob)?, fdbray::put(&vec![1u8])?);
    let _ = (bytes::remote(vec![1, 2]), bytes::remote(&[1, 2]), bytes::remote(b"abc"));
    let _ = (bytes::remote(&b"abc"[..]), bytes::remote(&blob), bytes::remote(&future_of_blob));
    let _ = (bytes::remote(&future_of_vec), bytes::remote(future_of_blob));
    let _ = (floats::remote(vec![1.0, 2.0]), floats::remote(&[1.0, 2.0]), floats::remote([1.0; 3]));
    let _ = (floats::remote(Slab::from(vec![1.0, 2.0])), floats::remote(options::remote(blob)));
    let _ = (strings::remote(vec!["a".into()]), text::remote("x"), text::remote(&"x".to_string()));
    let _ = (text::remote(name::remote("x")), text_async::remote("x", &p, 3));
    let h: RemoteFuture<RemoteFuture<i64>> = handle::remote(x.clone());
    let deep: i64 = h.await?.await?;
    let _ = (handle::remote(&x), add::remote(deep, 0));
    let _ = twelve::remote(1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12);
    Ok(())
}

async fn results() -> fdbray::Result<()> {
    nothing::remote().await?;
    let _: String = io_error::remote(PathBuf::from("x")).await?;
    let _: u8 = any_error::remote().await?;
    let _: u8 = string_error::remote().await?;
    let _: u8 = boxed_error::remote().await?;
    format_error::remote().await?;
    let _: u8 = own_error::remote(1).await?;
    let _: u8 = converted_error::remote().await?;
    let _ = (patterns::remote((1, 2), 3, 4), fraction::remote());
    Ok(())
}

async fn many() -> fdbray::Result<()> {
    let x = add::remote(1, 2);
    let v: Vec<_> = (0..4).map(identity::remote).collect();
    let w: Vec<_> = v.iter().map(identity::remote).collect();
    let _ = fdbray::settle(w).await;
    let _ = (identity::map(0..10), identity::map(&v), identity::map(v), name::map(["a", "b"]));
    let _ = (add::map((0..10).map(|i| (i, &x))), bytes::map([b"a", b"b"]));
    let zipped = add::map((0..3).zip(4..7));
    let _: i64 = fdbray::settle(&zipped).await.into_iter().sum::<Result<i64, _>>()?;
    let sum = |a| add::remote(a, 1);
    let _ = sum(3);
    let _: Vec<i64> = future::try_join_all(zipped).await?;
    let (first, rest) = fdbray::wait([add::remote(1, 1), add::remote(1, 2)], 1).await;
    let mut done = fdbray::as_completed(rest);
    while let Some(result) = done.next().await {
        let _: i64 = result?;
    }
    let _ = fdbray::wait(&first, 1).await;
    Ok(())
}

async fn calls() -> fdbray::Result<()> {
    let x = add::remote(1, 2);
    let call = add::options().cpus(2).cpus(0.5).retries(0).deadline(Duration::from_secs(1)).gpus(1);
    let call = call.resource("x", 1).memory(1 << 30).retry_errors(2).logs(false);
    let _ = (call.remote(1, 2), call.clone().remote(1, &x), call.map([(1, 2)]));
    let submitted: RemoteFuture<i64> = call.submit(1, &x).await;
    let _ = submitted.await?;
    fn fan<T>(call: &fdbray::Call<fn(i64, i64) -> T>) -> Vec<RemoteFuture<T>> {
        (0..3).map(|i| call.remote(i, i)).collect()
    }
    let _: Vec<RemoteFuture<i64>> = fan(&add::options());
    struct Stage {
        call: fdbray::Call<fn([u8]) -> usize>,
    }
    let _ = Stage { call: bytes::options() }.call.remote(vec![1]);
    Ok(())
}

async fn awaiting() -> fdbray::Result<()> {
    let y = add::remote(1, 2);
    let reference = &y;
    let _: (i64, i64, i64) = ((&y).await?, reference.await?, y.clone().await?);
    let _: (i64, i64) = future::try_join(y.clone(), add::remote(1, 1)).await?;
    let _ = tokio::time::timeout(Duration::from_secs(1), &y).await;
    let _ = tokio::spawn(y).await;
    tokio::select! {
        v = add::remote(1, 1) => { v?; }
        _ = tokio::time::sleep(Duration::ZERO) => {}
    }
    let _: i64 = add::remote(1, 1).abort_on_drop().await?;
    add::remote(1, 1); // fire and forget: no warning
    fdbray::shutdown().await
}

#[expect(deprecated)]
async fn items() {
    let _ = (f(1), f::remote(1), renamed(1), renamed::remote(1), glob::f(1), glob::f::remote(1));
    let _ = (m::parse(1), m::parse_remote::remote(1));
    m::t();
    let _ = (made_i64::remote(1), made_string::remote("x"));
    let _: RemoteFuture<String> = made_result::remote("x");
    let _: RemoteFuture<String> = made_module::in_a_module::remote("x");
    {
        #[remote]
        fn same(x: u8) -> u8 {
            x
        }
        let _ = same::remote(1);
    }
    {
        #[remote]
        fn same(x: u8) -> u16 {
            x.into()
        }
        let _ = same::remote(1);
    }
    let _ = (|| {
        #[remote]
        async fn same(p: &Point) -> fdbray::Result<Point> {
            Ok(p.clone())
        }
        same::remote(Point { name: String::new() })
    })();
    let _ = (old(1), old::remote(1));
}

fn put_levels() -> RemoteFuture<[u8; 2]> {
    fdbray::put(&[1, 2]).unwrap()
}

#[test]
fn futures_are_send_sync_unpin_clone_and_debug_whatever_they_are_of() {
    fn is<T: Send + Sync + Unpin + Clone + std::fmt::Debug>() {}
    is::<RemoteFuture<std::rc::Rc<std::cell::Cell<u8>>>>();
    fn send<T: Send>(_: T) {}
    // The runtime's own futures can be spawned, too.
    let _ = || {
        send(arguments());
        send(results());
        send(many());
        send(calls());
        send(awaiting());
        send(items());
        send(actors::all(put_levels()));
    };
}
