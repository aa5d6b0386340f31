//! The reader against the writer, and against files that nobody should trust.

use std::{
    fs,
    path::{Path, PathBuf},
};

use tempfile::TempDir;

use super::*;
use crate::tiny::{Class, Options, write_tiny_model};

/// A small file with a key of every kind and two tensors, and its folder.
fn example() -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("example.gguf");
    let mut writer = GgufWriter::new("toy").unwrap();
    writer.set_str("toy.text", "größer").unwrap();
    writer.set_u32("toy.rope.dimension_count", 32).unwrap();
    writer.set_i32("toy.below", -7).unwrap();
    writer.set_f32("toy.rope.freq_base", 0.5).unwrap();
    writer.set_bool("toy.flag", true).unwrap();
    writer.set_arr_str("toy.words", &["a", "", "ccc"]).unwrap();
    writer.set_arr_f32("toy.floats", &[1.0, 2.0]).unwrap();
    writer.set_arr_i32("toy.ints", &[]).unwrap();
    let floats: Vec<u8> = (0..6).flat_map(|n| (n as f32).to_ne_bytes()).collect();
    writer
        .add_tensor("one", &[3, 2], Type::F32, floats)
        .unwrap();
    writer
        .add_tensor("two", &[64], Type::Q8_0, vec![9; 68])
        .unwrap();
    writer.write(&path).unwrap();
    (folder, path)
}

fn refusal(path: &Path) -> String {
    match GgufReader::open(path) {
        Ok(_) => panic!("{} was accepted", path.display()),
        Err(error) => error.to_string(),
    }
}

#[test]
fn what_the_writer_wrote_the_reader_reads() {
    let (_folder, path) = example();
    let reader = GgufReader::open(&path).unwrap();
    let entries: Vec<_> = reader.entries().collect();
    let array = |of, len| Value::Array { of, len };
    let expected = [
        ("general.architecture", Value::Text("toy".into())),
        ("toy.text", Value::Text("größer".into())),
        ("toy.rope.dimension_count", Value::Unsigned(32)),
        ("toy.below", Value::Signed(-7)),
        ("toy.rope.freq_base", Value::Float(0.5)),
        ("toy.flag", Value::Bool(true)),
        ("toy.words", array("str", 3)),
        ("toy.floats", array("f32", 2)),
        ("toy.ints", array("i32", 0)),
    ];
    assert_eq!(entries, expected.map(|(key, value)| (key.into(), value)));

    let words: Vec<_> = reader.strings("toy.words").unwrap().collect();
    assert_eq!(words, [&b"a"[..], b"", b"ccc"]);
    assert_eq!(reader.array_bytes("toy.floats").unwrap().len(), 8);
    assert_eq!(reader.array_bytes("toy.ints").unwrap(), b"");
    assert!(reader.strings("toy.floats").is_none());
    assert!(reader.array_bytes("toy.words").is_none());
    assert_eq!(reader.get("toy.absent"), None);
    assert_eq!(reader.number("toy.below"), None);

    let data = reader.data_offset();
    let [one, two] = reader.tensors() else {
        panic!("there are two tensors");
    };
    assert_eq!((one.name.as_str(), one.kind), ("one", "f32"));
    assert_eq!((one.dims, one.offset, one.bytes), ([3, 2, 1, 1], data, 24));
    assert_eq!((two.name.as_str(), two.kind), ("two", "q8_0"));
    assert_eq!(
        (two.dims, two.offset, two.bytes),
        ([64, 1, 1, 1], data + 32, 68)
    );
    let file = fs::read(&path).unwrap();
    let at = two.offset as usize;
    assert_eq!(file[at..at + 68], [9; 68]);
}

#[test]
fn what_the_format_cannot_hold_is_refused_before_ggml_aborts() {
    let mut writer = GgufWriter::new("toy").unwrap();
    assert!(writer.set_u32("", 1).is_err());
    assert!(writer.set_str("general.alignment", "odd").is_err());
    assert!(writer.set_str("toy.text", "a\0b").is_err());
    assert!(writer.set_arr_str("toy.words", &["a\0b"]).is_err());
    let four = || vec![0; 4];
    writer.add_tensor("t", &[1], Type::F32, four()).unwrap();
    for (name, dims, kind) in [
        ("t", &[1][..], Type::F32),
        ("", &[1], Type::F32),
        (&"n".repeat(64), &[1], Type::F32),
        ("a\0b", &[1], Type::F32),
        ("u", &[], Type::F32),
        ("u", &[1, 1, 1, 1, 1], Type::F32),
        ("u", &[0, 1], Type::F32),
        ("u", &[2], Type::F32),
        ("u", &[4], Type::Q8_0),
        ("u", &[usize::MAX, usize::MAX], Type::F32),
    ] {
        assert!(
            writer.add_tensor(name, dims, kind, four()).is_err(),
            "{name:?} {dims:?} {kind:?}"
        );
    }
}

#[test]
fn an_unwritable_place_is_an_error_with_its_path() {
    let (folder, _) = example();
    let path = folder.path().join("absent").join("model.gguf");
    let error = GgufWriter::new("toy").unwrap().write(&path).unwrap_err();
    assert!(error.to_string().contains("absent"), "{error}");
}

#[test]
fn a_file_cut_short_anywhere_is_refused() {
    let (folder, path) = example();
    let whole = fs::read(&path).unwrap();
    let reader = GgufReader::open(&path).unwrap();
    let last = reader.tensors().last().unwrap();
    let needed = (last.offset + last.bytes) as usize;
    let cut = folder.path().join("cut.gguf");
    for length in 0..needed {
        fs::write(&cut, &whole[..length]).unwrap();
        refusal(&cut);
    }
}

#[test]
fn garbage_and_folders_are_refused() {
    let (folder, path) = example();
    let other = folder.path().join("other.gguf");
    fs::write(&other, vec![0xa5; 100_000]).unwrap();
    assert!(refusal(&other).contains("does not begin with"));
    assert!(refusal(folder.path()).contains("not a regular file"));
    assert!(refusal(&folder.path().join("absent")).contains("absent"));

    let mut version = fs::read(&path).unwrap();
    version[4] = 1;
    fs::write(&other, version).unwrap();
    assert!(refusal(&other).contains("version 1"));
}

/// A header may claim counts that ggml would allocate for before it reads on.
#[test]
fn absurd_counts_are_refused_in_a_large_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("huge.gguf");
    let word = |n: u64| n.to_le_bytes().to_vec();
    let half = |n: u32| n.to_le_bytes().to_vec();
    let header =
        |tensors: u64, keys: u64| [b"GGUF".to_vec(), half(3), word(tensors), word(keys)].concat();
    let key = || [word(1), b"k".to_vec()].concat();
    let cases = [
        header(u64::MAX, 0),
        header(0, u64::MAX),
        header(1 << 40, 1),
        [header(0, 1), word(1 << 50)].concat(),
        // A string, an array of strings, of bytes, of arrays, of nothing known.
        [header(0, 1), key(), half(8), word(1 << 33)].concat(),
        [header(0, 1), key(), half(9), half(8), word(1 << 30)].concat(),
        [header(0, 1), key(), half(9), half(0), word(1 << 30)].concat(),
        [header(0, 1), key(), half(9), half(9), word(1)].concat(),
        [header(0, 1), key(), half(77)].concat(),
        [header(1, 0), key(), half(9)].concat(),
    ];
    for bytes in cases {
        fs::write(&path, &bytes).unwrap();
        // Sparse: no disk is used for the 64 GiB that make the counts plausible to ggml.
        let file = fs::OpenOptions::new().write(true).open(&path).unwrap();
        file.set_len(1 << 36).unwrap();
        refusal(&path);
    }
}

/// Whatever a flipped byte makes of the header, the process goes on.
#[test]
fn a_flipped_byte_never_ends_the_process() {
    let (folder, path) = example();
    let whole = fs::read(&path).unwrap();
    let header = GgufReader::open(&path).unwrap().data_offset() as usize;
    let flipped = folder.path().join("flipped.gguf");
    let mut refused = 0;
    for at in 0..header {
        let mut bytes = whole.clone();
        bytes[at] ^= [0xff, 0x01, 0x80][at % 3];
        fs::write(&flipped, bytes).unwrap();
        match GgufReader::open(&flipped) {
            Ok(reader) => assert!(reader.entries().count() <= 9),
            Err(_) => refused += 1,
        }
        let _ = facts(&flipped);
    }
    assert!(refused > header / 4, "{refused} of {header}");
}

#[test]
fn facts_tell_models_apart_and_know_a_copy() {
    let folder = tempfile::tempdir().unwrap();
    let facts_of = |name: &str, class: Class, options: &Options| {
        let path = folder.path().join(name);
        write_tiny_model(class, options, &path).unwrap();
        facts(&path).unwrap()
    };
    let plain = Options::default();
    let base = facts_of("a.gguf", Class::Dense, &plain);
    assert_eq!(base, facts_of("b.gguf", Class::Dense, &plain));
    assert_eq!(base.architecture, "qwen3");
    let shape = |name: &str| base.shape.iter().find(|(key, _)| key == name);
    assert_eq!(shape("rope.freq_base").unwrap().1, "10000");
    assert_eq!(shape("embedding_length").unwrap().1, "64");

    let weights = facts_of("c.gguf", Class::Dense, &Options { seed: 2, ..plain });
    assert_ne!(weights.tensors, base.tensors);
    assert_eq!(weights.tokenizer, base.tokenizer);
    assert_eq!(weights.shape, base.shape);

    let options = Options {
        chat_template: Some("{{ messages }}"),
        rope_freq_base: 20_000.0,
        ..plain
    };
    let template = facts_of("d.gguf", Class::Dense, &options);
    assert_ne!(template.chat_template, base.chat_template);
    assert_ne!(template.shape, base.shape);
    assert_eq!(template.tensors, base.tensors);
    assert_eq!(template.tokenizer, base.tokenizer);
}

#[test]
fn every_class_has_the_same_tokenizer_and_its_own_tensors() {
    let folder = tempfile::tempdir().unwrap();
    let all = Class::ALL.map(|class| {
        let path = folder.path().join(class.as_str());
        write_tiny_model(class, &Options::default(), &path).unwrap();
        facts(&path).unwrap()
    });
    for (index, one) in all.iter().enumerate() {
        for other in &all[..index] {
            assert_eq!(one.tokenizer, other.tokenizer);
            assert_ne!(one.tensors, other.tensors);
            assert_ne!(one.architecture, other.architecture);
        }
    }
}

fn one_of(index: usize, count: usize, tensors: &[&str], path: &Path) {
    let mut writer = GgufWriter::new("toy").unwrap();
    if count > 1 {
        writer.set_u16("split.no", index as u16).unwrap();
        writer.set_u16("split.count", count as u16).unwrap();
    }
    for name in tensors {
        let data = vec![name.len() as u8; 4 << 10];
        writer
            .add_tensor(name, &[1 << 10], Type::F32, data)
            .unwrap();
    }
    writer.write(path).unwrap();
}

#[test]
fn a_split_model_has_the_tensors_of_the_whole_one() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    one_of(0, 1, &["a", "bb", "ccc"], &at("whole.gguf"));
    one_of(0, 2, &["ccc", "a"], &at("m-00001-of-00002.gguf"));
    one_of(1, 2, &["bb"], &at("m-00002-of-00002.gguf"));
    let whole = facts(&at("whole.gguf")).unwrap();
    let split = facts(&at("m-00002-of-00002.gguf")).unwrap();
    assert_eq!(split.tensors, whole.tensors);
    assert_eq!((split.n_files, split.n_tensors, split.bytes), (2, 3, 12288));

    one_of(0, 2, &["bb"], &at("m-00002-of-00002.gguf"));
    let error = facts(&at("m-00001-of-00002.gguf")).unwrap_err();
    assert!(error.to_string().contains("number 1 of 2"), "{error}");
    fs::remove_file(at("m-00002-of-00002.gguf")).unwrap();
    assert!(facts(&at("m-00001-of-00002.gguf")).is_err());
    fs::rename(at("whole.gguf"), at("w-00001-of-00003.gguf")).unwrap();
    let error = facts(&at("w-00001-of-00003.gguf")).unwrap_err();
    assert!(error.to_string().contains("its name says 3"), "{error}");
}

#[test]
fn split_names_are_recognised_and_others_left_alone() {
    let names = |path: &str| -> Vec<String> {
        let paths = split_paths(Path::new(path));
        let names = paths.iter().map(|path| path.to_str().unwrap().to_owned());
        names.collect()
    };
    assert_eq!(
        names("d/m-x-00002-of-00003.gguf"),
        [
            "d/m-x-00001-of-00003.gguf",
            "d/m-x-00002-of-00003.gguf",
            "d/m-x-00003-of-00003.gguf"
        ]
    );
    for other in [
        "m.gguf",
        "m-00001-of-00000.gguf",
        "m-00000-of-00002.gguf",
        "m-00003-of-00002.gguf",
        "m-1-of-2.gguf",
        "m-+0001-of-00002.gguf",
        "m-00001-of-00002.bin",
    ] {
        assert_eq!(names(other), [other]);
    }
}

#[test]
fn two_tokens_of_one_text_are_refused_before_llama_cpp_would_abort() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("twice.gguf");
    let mut writer = GgufWriter::new("qwen3").expect("a writer");
    writer
        .set_arr_str("tokenizer.ggml.tokens", &["a", "", "b", "", "a"])
        .expect("tokens");
    writer.write(&path).expect("a file");
    let error = facts(&path).expect_err("a refusal").to_string();
    assert!(error.contains(r#"token 4 has the text "a""#), "{error}");
}
