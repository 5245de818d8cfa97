//! Failures: what a function's error, panic or unfit value looks like to whoever awaits it, directly or further on.

use fdbray::{Error, RemoteFuture};
use fdbray_tests::cluster::*;

const LIMIT: u64 = 60;

#[fdbray::test]
async fn an_error_of_the_functions_own_type_downcasts() {
    let Err(Error::Application(error)) = within(LIMIT, "the refusal", refuses::remote(7)).await else {
        panic!("it refuses")
    };
    assert_eq!(error.to_string(), "refused with code 7");
    assert!(error.function().ends_with("refuses"), "{}", error.function());
    assert!(error.is::<Refused>() && !error.is::<String>());
    assert_eq!(error.downcast::<Refused>().expect("it is one"), Refused { code: 7 });
}

#[fdbray::test]
async fn an_io_error_arrives_as_text() {
    let Err(Error::Application(error)) = within(LIMIT, "the error", reads::remote("/not/there")).await else {
        panic!("there is no such file")
    };
    assert_eq!(error.to_string(), "No such file or directory (os error 2)");
    assert_eq!(error.chain().count(), 1);
}

#[fdbray::test]
async fn an_anyhow_error_arrives_with_its_chain_of_causes() {
    let Err(Error::Application(error)) = within(LIMIT, "the error", anyhow_chain::remote()).await else {
        panic!("it fails")
    };
    let chain = ["the order was not placed", "the till is closed", "refused with code 4"];
    assert_eq!(error.chain().collect::<Vec<_>>(), chain);
    assert_eq!(error.to_string(), chain.join(": "));
}

#[fdbray::test]
async fn an_error_may_be_a_mere_text() {
    let error = within(LIMIT, "the error", says_no::remote()).await.unwrap_err();
    assert_eq!(error.to_string(), "just no");
    assert!(format!("{error:?}").contains("says_no"), "Debug names the function: {error:?}");
}

#[fdbray::test]
async fn a_panic_is_an_error_with_message_place_and_worker_whatever_it_carries() {
    let expected =
        [(Load::Str, "a plain text"), (Load::Text, "a text with 42"), (Load::Number, ""), (Load::Bomb, "")];
    for (load, text) in expected {
        for call in [panics::remote(load), panics_async::remote(load)] {
            match within(LIMIT, "the panic", call).await {
                Err(Error::Panicked { function, message, location, worker, .. }) => {
                    assert!(function.contains("panics"), "{function}");
                    assert!(message.contains(text) && !message.is_empty(), "{message}");
                    assert!(location.contains("failing.rs:"), "{location}");
                    assert_ne!(worker.get(), 0);
                }
                other => panic!("{load:?}: {other:?}"),
            }
        }
    }
    assert_eq!(within(LIMIT, "the worker lives on", add::remote(1, 1)).await.unwrap(), 2);
}

#[fdbray::test]
async fn a_panic_leaves_the_threads_of_its_worker_usable() {
    let many = (0..500).map(|_| panics::remote(Load::Str));
    let all = within(LIMIT, "all panics", fdbray::settle(many)).await;
    assert!(all.iter().all(|result| matches!(result, Err(Error::Panicked { .. }))));
    let sums = within(LIMIT, "calls after them", fdbray::settle(add::map((0..500).map(|i| (i, i))))).await;
    assert!(sums.into_iter().enumerate().all(|(i, sum)| sum.is_ok_and(|sum| sum == 2 * i as i64)));
}

#[fdbray::test(workers = 2)]
async fn a_dependent_fails_with_the_original_cause_and_names_the_way() {
    let first = refuses::remote(9);
    let second = add::remote(&first, 1);
    let third = add_async::remote(1, &second);
    let error = within(LIMIT, "the last of three", third).await.unwrap_err();
    assert!(matches!(&error, Error::Application(e) if e.is::<Refused>()), "{error:?}");
    let passed: Vec<_> = error.passed().iter().map(|name| name.rsplit("::").next().unwrap_or("")).collect();
    assert_eq!(passed, ["add", "add_async"]);
    assert!(error.to_string().starts_with("refused with code 9"), "{error}");
}

#[fdbray::test(workers = 2)]
async fn a_question_mark_on_a_future_inside_a_function_keeps_the_cause() {
    let basket = Basket { first: refuses::remote(3), others: vec![], named: Default::default() };
    for call in [total::remote(&basket), total_blocking::remote(&basket)] {
        let result = within(LIMIT, "the total", call).await;
        assert!(is_refused(&result, 3), "{result:?}");
    }
    // A panic passes in the same way.
    let panicking = panics_as_number(Load::Text);
    let result = within(LIMIT, "the total", total::remote(Basket { first: panicking, ..basket })).await;
    assert!(
        matches!(&result, Err(Error::Panicked { message, .. }) if message == "a text with 42"),
        "{result:?}"
    );
}

fn panics_as_number(load: Load) -> RemoteFuture<i64> {
    return wrapped::remote(load);

    #[fdbray::remote]
    fn wrapped(load: Load) -> i64 {
        panics(load).into()
    }
}

#[fdbray::test]
async fn a_dependent_of_many_failures_fails_once() {
    let failing: Vec<_> = refuses::map(vec![2; 500]);
    let dependents = failing.iter().map(|failed| add::remote(failed, failed));
    for result in within(LIMIT, "all dependents", fdbray::settle(dependents)).await {
        assert!(is_refused(&result, 2), "{result:?}");
    }
}

#[fdbray::test]
async fn a_value_that_fails_to_decode_names_the_argument_or_the_result() {
    let what = |result: fdbray::Result<OneWay>| match result {
        Err(Error::Decode { what, message, .. }) => {
            // The encoding keeps no text of an implementation's own.
            assert!(message.contains("OneWay") && message.contains("refused"), "{message}");
            what
        }
        other => panic!("{other:?}"),
    };
    assert_eq!(within(LIMIT, "a good value", one_way::remote(OneWay(0))).await.unwrap().0, 0);
    let argument = what(within(LIMIT, "a bad argument", one_way::remote(OneWay(1))).await);
    assert!(argument.contains("argument `value` of `") && argument.contains("one_way"), "{argument}");
    let result = what(within(LIMIT, "a bad result", one_way_back::remote(2)).await);
    assert!(result.contains("the result of `") && result.contains("one_way_back"), "{result}");
}

#[fdbray::test]
async fn a_value_that_fails_to_encode_names_the_argument_or_the_result() {
    let what = |error: Error| match error {
        Error::Encode { what, message, .. } => {
            assert!(
                message.contains("`Serialize` implementation") && message.contains("refused"),
                "{message}"
            );
            what
        }
        other => panic!("{other:?}"),
    };
    let argument = what(within(LIMIT, "a bad argument", no_way::remote(NoWay)).await.unwrap_err());
    assert!(argument.contains("argument 1 of `") && argument.contains("no_way"), "{argument}");
    let result = what(within(LIMIT, "a bad result", no_way_back::remote()).await.unwrap_err());
    assert!(result.contains("the result of `") && result.contains("no_way_back"), "{result}");
}

#[fdbray::test]
async fn errors_are_retried_when_asked_for_with_growing_pauses() {
    let patient = fails_until::options().retry_errors(3);
    assert_eq!(within(LIMIT, "the third attempt", patient.remote(3)).await.unwrap(), 3);
    let result = within(LIMIT, "the last attempt", patient.remote(9)).await;
    assert!(is_refused(&result, 4), "the last error counts: {result:?}");
    let result = within(LIMIT, "one attempt", fails_until::remote(2)).await;
    assert!(is_refused(&result, 1), "not unless it is asked for: {result:?}");
}

#[fdbray::test]
async fn an_error_is_clone_and_travels_as_a_value() {
    let error = within(LIMIT, "the error", refuses::remote(5)).await.unwrap_err();
    let future = refuses::remote(5);
    let (one, other) = ((&future).await.unwrap_err(), future.await.unwrap_err());
    assert_eq!(one.to_string(), other.to_string());
    let kept: Error = fdbray::put(&error).expect("an error is a value").await.expect("and comes back");
    assert!(matches!(kept, Error::Application(e) if e.is::<Refused>()));
}
