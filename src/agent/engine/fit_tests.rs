use std::fs;
use std::path::{Path, PathBuf};

use super::*;
use crate::agent::Leeway;
use crate::agent::engine::fit_records::LIST;
use crate::slot::fit::{Card, FitRefusal, FreeMemory};
use crate::tiny::{self, Class};

/// Of a model that is the test's own: others may make theirs anew, and what is known of a model goes by
/// its file.
fn options(home: &Path, shared: PathBuf) -> Options {
    let model = home.join("model.gguf");
    fs::copy(shared, &model).unwrap();
    Options {
        home: home.to_owned(),
        model,
        weights: ModelOptions::default(),
        limit: None,
        context: ContextOptions::default(),
        leeway: Leeway {
            cache: true,
            session: 0,
        },
        ubatch: Some(32),
        policy: None,
        shift: None,
        store_kv: true,
        kv_quota: None,
        chat_template: None,
        thinking: None,
        apart: None,
    }
}

fn fit(options: &Options) -> Fitted {
    let file = gguf::facts(&options.model).unwrap();
    fitted(options, &file).unwrap()
}

#[test]
fn a_model_that_fits_gets_the_context_it_was_trained_for_and_nothing_is_said() {
    for class in Class::ALL {
        let home = tempfile::tempdir().unwrap();
        let options = options(home.path(), tiny::tiny_model(class, &Default::default()));
        let got = fit(&options);
        assert_eq!(
            (got.options.limit, got.options.context.cache, got.notice),
            (Some(131_072), CacheType::F16, None),
            "{class:?}"
        );
        assert!(
            got.words.starts_with("context 131,072 tokens")
                && got.words.ends_with(": all that the model was trained for"),
            "{}",
            got.words
        );
        // What was counted is kept, and used: a model that is not there any more is not counted.
        let kept = Records::read(home.path());
        assert_eq!(kept.models.len(), 1);
        let file = gguf::facts(&options.model).unwrap();
        let mut other = kept.models[0].clone();
        other.demand.trained = 5120;
        kept.keep(home.path(), other).unwrap();
        assert_eq!(fitted(&options, &file).unwrap().options.limit, Some(5120));
    }
}

#[test]
fn the_cache_type_of_the_last_start_is_taken_again_and_an_asked_one_wins() {
    let home = tempfile::tempdir().unwrap();
    let mut options = options(
        home.path(),
        tiny::tiny_model(Class::Dense, &Default::default()),
    );
    fit(&options);
    let kept = Records::read(home.path());
    let mut other = kept.models[0].clone();
    other.cache = Some(CacheType::Q8_0);
    kept.keep(home.path(), other).unwrap();
    let got = fit(&options);
    assert_eq!(got.options.context.cache, CacheType::Q8_0);
    let (said, _) = got.notice.expect("it is not what a new model gets");
    assert!(said.contains(" in q8_0: "), "{said}");
    options.leeway.cache = false;
    options.context.cache = CacheType::Q4_0;
    assert_eq!(fit(&options).options.context.cache, CacheType::Q4_0);
    // What was asked for once is not what the next start takes.
    assert_eq!(
        Records::read(home.path()).models[0].cache,
        Some(CacheType::Q8_0)
    );
}

#[test]
fn a_damaged_list_of_numbers_is_counted_again() {
    let home = tempfile::tempdir().unwrap();
    let options = options(
        home.path(),
        tiny::tiny_model(Class::Swa, &Default::default()),
    );
    fs::write(home.path().join(LIST), "{\"models\":[{\"name\":").unwrap();
    assert_eq!(fit(&options).options.limit, Some(131_072));
    assert_eq!(Records::read(home.path()).models.len(), 1);
}

#[test]
fn a_choice_and_its_reason_are_one_sentence_and_a_refusal_has_the_numbers() {
    let demand = Demand {
        trained: 131_072,
        layers: vec![LayerBytes::default(); 24],
        input: 0,
        output: 0,
        costs: Vec::new(),
    };
    let machine = |cards: bool| Machine {
        host: FreeMemory {
            free: 11 << 30,
            total: 16 << 30,
        },
        cards: cards
            .then(|| Card {
                name: "CUDA0".into(),
                place: FreeMemory {
                    free: 7 << 30,
                    total: 8 << 30,
                },
                shared: false,
            })
            .into_iter()
            .collect(),
    };
    let choice = |limit, card_layers, host_experts, bound| FitChoice {
        limit,
        cache: CacheType::Q8_0,
        card_layers,
        host_experts,
        bound,
        kv: 3 << 29,
        host: 0,
        cards: 0,
    };
    let table = [
        (
            choice(20_992, 25, 12, Bound::Cards),
            true,
            "context 20,992 of 131,072 tokens, KV 1.5 GiB in q8_0, all layers on the card, but the \
             experts of 12 of 24 are in the host's memory: CUDA0 has 7.0 GiB free, and 512 MiB of \
             it stay for the driver and the screen",
        ),
        (
            choice(131_072, 25, 0, Bound::Trained),
            true,
            "context 131,072 tokens, KV 1.5 GiB in q8_0, all layers on the card: all that the model \
             was trained for",
        ),
        (
            choice(4096, 20, 0, Bound::Wished),
            true,
            "context 4,096 of 131,072 tokens, KV 1.5 GiB in q8_0, 20 of 25 layers on the card: as \
             asked",
        ),
        (
            choice(25_088, 0, 0, Bound::Host),
            false,
            "context 25,088 of 131,072 tokens, KV 1.5 GiB in q8_0: the host has 11.0 GiB free, and \
             2.0 GiB of it stay for other programs",
        ),
        (
            choice(29_696, 0, 0, Bound::Start),
            false,
            "context 29,696 of 131,072 tokens, KV 1.5 GiB in q8_0: a larger one makes every start \
             slow, as all of it is filled with zeros first",
        ),
    ];
    for (choice, cards, want) in table {
        assert_eq!(words(&choice, &demand, &machine(cards)), want);
    }
    let home = tempfile::tempdir().unwrap();
    let tiny = tiny::tiny_model(Class::Dense, &Default::default());
    let options = Options {
        model: "/models/big.gguf".into(),
        ..options(home.path(), tiny)
    };
    let refusal = FitRefusal {
        tokens: 2048,
        weights: 20 << 30,
        context: 900 << 20,
        host: 9 << 30,
        cards: 0,
    };
    let error = refused(&options, &machine(false), &refusal);
    assert_eq!(
        (error.kind(), error.to_string().as_str()),
        (
            "memory",
            "big.gguf does not fit: its weights take 20.0 GiB, a context of 2,048 tokens 900 MiB, \
             and npast may fill 9.0 GiB of the host's memory (11.0 GiB are free, 2.0 GiB stay for \
             other programs)"
        )
    );
}
