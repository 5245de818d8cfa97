//! How much and how long a transaction may be, on every engine.

use super::*;

pub(super) async fn limits_are_those_of_every_engine(make: Make) {
    let subject = fresh(make);
    let write = |key: Vec<u8>, value: Vec<u8>, times: usize| {
        subject.store.transact(move |tx| {
            let (key, value) = (key.clone(), value.clone());
            async move {
                for n in 0..times {
                    let mut key = key.clone();
                    key[0] = n as u8;
                    tx.set(key, &value)?;
                }
                Ok::<_, StoreError>(())
            }
        })
    };
    write(vec![b'k'; 480], vec![b'v'; 100_000], 1).await.unwrap();
    assert!(matches!(
        write(vec![b'k'; 481], vec![], 1).await,
        Err(StoreError::KeyTooLong { len: 481, limit: 480 })
    ));
    assert!(matches!(
        write(vec![b'k'], vec![0; 100_001], 1).await,
        Err(StoreError::ValueTooLong { len: 100_001, limit: 100_000 })
    ));
    write(vec![b'k'], vec![0; 100_000], 99).await.unwrap();
    let large = write(vec![b'k'], vec![0; 100_000], 101).await;
    assert!(matches!(large, Err(StoreError::TransactionTooLarge { limit: 10_000_000 })));
    for key in [&b""[..], b"\xff", b"\xffformat"] {
        let key = key.to_vec();
        let set = subject.store.transact(move |tx| {
            let key = key.clone();
            async move { tx.set(key, b"") }
        });
        assert!(matches!(set.await, Err(StoreError::KeyReserved)));
    }
    let past: Result<_, StoreError> =
        subject.store.read(|tx| async move { tx.range(Range::new(b"", b"\xff\xff")).await }).await;
    assert!(matches!(past, Err(StoreError::KeyReserved)));
    let swallowed = subject.store.transact(|tx| async move {
        let _ = tx.set(b"a", vec![0; 100_001]);
        tx.set(b"swallowed", b"")
    });
    assert!(
        matches!(swallowed.await, Err(StoreError::ValueTooLong { .. })),
        "an error that is ignored still counts"
    );
    assert_eq!(get(&subject.store, b"swallowed").await, None);
}

pub(super) async fn a_transaction_that_takes_too_long_fails(make: Make) {
    let limit = Duration::from_millis(5);
    let subject = make(Limits { time: limit, ..Limits::default() });
    let runs = Arc::new(AtomicU32::new(0));
    let counter = runs.clone();
    let slow = subject.store.transact(move |tx| {
        counter.fetch_add(1, Ordering::SeqCst);
        async move {
            tx.set(b"a", b"")?;
            std::thread::sleep(limit * 2);
            Ok::<_, StoreError>(())
        }
    });
    assert!(matches!(slow.await, Err(StoreError::TimeLimit(_))));
    assert!(runs.load(Ordering::SeqCst) > 1, "a pause of the process may have been the cause");
}
