//! The registry as sessions meet it: a stable order, frozen tools whose servers went, calls that
//! fail inside.

use serde_json::json;

use super::super::testing::Place;
use super::super::{FetchUrl, built_in};
use super::*;

/// A tool that does what its test wants.
struct Made {
    spec: Spec,
    work: fn() -> ToolAnswer,
}

fn made(name: &str, work: fn() -> ToolAnswer) -> Box<dyn Tool> {
    let spec = Spec::new(name, "made", json!({"type": "object"}));
    Box::new(Made { spec, work })
}

impl Tool for Made {
    fn spec(&self) -> &Spec {
        &self.spec
    }

    fn effect(&self, _: &Value) -> Effect {
        Effect::Runs
    }

    fn subject(&self, _: &Value, _: &Path) -> Subject {
        Subject::Call(self.spec.name.clone())
    }

    fn run(&self, _: &Value, _: &CallContext<'_>) -> ToolAnswer {
        (self.work)()
    }
}

fn names(registry: &Registry) -> Vec<&str> {
    registry
        .tools()
        .map(|tool| tool.spec().name.as_str())
        .collect()
}

fn run(registry: &Registry, name: &str, arguments: &Value) -> ToolAnswer {
    Place::new().room(None, |room| registry.run(name, arguments, room))
}

/// What models see of our own tools is not changed on the way.
#[test]
fn our_own_schemas_are_in_the_normal_form() {
    let mut tools = built_in();
    tools.push(Box::new(FetchUrl::new(false)));
    for tool in &tools {
        let given = &tool.spec().parameters;
        let normal = crate::tools::schema::normal(given, 4096);
        assert_eq!(normal.schema.to_string(), given.to_string());
        assert_eq!(normal.odd, Vec::<String>::new(), "{}", tool.spec().name);
    }
}

#[test]
fn the_order_of_tools_is_that_of_their_names_whatever_order_they_came_in() {
    let mut tools = built_in();
    tools.reverse();
    tools.push(made("zeta", || ToolAnswer::good("")));
    tools.insert(0, made("alpha", || ToolAnswer::good("")));
    let registry = Registry::new(tools).unwrap();
    assert_eq!(
        names(&registry),
        [
            "alpha",
            "edit_file",
            "list",
            "memory",
            "read_file",
            "search",
            "session_search",
            "todo",
            "write_file",
            "zeta"
        ]
    );
    let again = Registry::new(built_in()).unwrap().specs_json().to_string();
    assert_eq!(
        again,
        Registry::new(built_in()).unwrap().specs_json().to_string()
    );
    assert!(registry.get("list").is_some() && registry.get("lis").is_none());
}

#[test]
fn two_tools_of_one_name_and_names_that_are_none_are_refused() {
    let error = |names: &[&str]| {
        let tools = names
            .iter()
            .map(|name| made(name, || ToolAnswer::good("")))
            .collect();
        Registry::new(tools).err()
    };
    assert_eq!(
        error(&["a", "b", "a"]),
        Some(RegistryError::Twice("a".into()))
    );
    for name in ["", "a b", "ä", "a\n", &"n".repeat(65)] {
        assert_eq!(error(&[name]), Some(RegistryError::Name(name.into())));
    }
    assert_eq!(error(&["a-B_9", &"n".repeat(64)]), None);
}

#[test]
fn a_call_that_cannot_be_run_is_a_sentence() {
    let registry = Registry::new(built_in()).unwrap();
    assert_eq!(
        run(&registry, "red_file", &json!({})),
        ToolAnswer::bad("There is no tool red_file. Did you mean read_file?")
    );
    assert_eq!(
        run(&registry, "read_file", &json!({"file": "x"})),
        ToolAnswer::bad("read_file cannot be called like this: \"path\" is missing.")
    );
}

#[test]
fn a_tool_that_panics_has_failed_and_nothing_else() {
    let tools = vec![
        made("breaks", || panic!("inside")),
        made("works", || ToolAnswer::good("fine\u{7}")),
    ];
    let registry = Registry::new(tools).unwrap();
    assert_eq!(
        run(&registry, "breaks", &json!({})),
        ToolAnswer::bad("The tool breaks failed inside. Try another way.")
    );
    assert_eq!(
        run(&registry, "works", &json!({})),
        ToolAnswer::good("fine")
    );
}

/// A session that was started with a server's tool is opened when the server is gone, and another
/// has come: the tools are the same bytes, a call is answered, and the new tool waits.
#[test]
fn frozen_tools_stay_the_same_bytes_with_or_without_what_serves_them() {
    let first = vec![
        made("server_add", || ToolAnswer::good("3")),
        made("own", || ToolAnswer::good("mine")),
    ];
    let frozen = Registry::new(first).unwrap().specs_json();
    let later = vec![
        made("own", || ToolAnswer::good("mine")),
        made("new", || ToolAnswer::good("")),
    ];
    let registry = Registry::frozen(&frozen, later).unwrap();
    assert_eq!(registry.specs_json().to_string(), frozen.to_string());
    assert_eq!(run(&registry, "own", &json!({})), ToolAnswer::good("mine"));
    assert_eq!(
        run(&registry, "server_add", &json!({})),
        ToolAnswer::bad(
            "The tool server_add is not there now: this session was started with it, and what \
             gave it is missing. Go on without it."
        )
    );
    assert!(!run(&registry, "new", &json!({})).ok);
    let missing = registry.get("server_add").unwrap();
    assert_eq!(missing.subject(&json!({}), Path::new("/")), Subject::Own);
}

/// The schema that the model knows and the one that runs are both kept.
#[test]
fn a_frozen_tool_that_changed_since_checks_by_its_old_and_its_new_schema() {
    let frozen = json!([{"type": "function", "function": {
        "name": "read_file",
        "description": "",
        "parameters": {"type": "object", "properties": {"file": {"type": "string"}},
            "required": ["file"]},
    }}]);
    let registry = Registry::frozen(&frozen, built_in()).unwrap();
    assert_eq!(
        run(&registry, "read_file", &json!({"path": "x"})),
        ToolAnswer::bad("read_file cannot be called like this: \"file\" is missing.")
    );
    assert_eq!(
        run(&registry, "read_file", &json!({"file": "x"})),
        ToolAnswer::bad("read_file cannot be called like this: \"path\" is missing.")
    );
    for wrong in [json!({}), json!("x"), json!([{"function": {}}]), json!([7])] {
        assert!(Registry::frozen(&wrong, built_in()).is_err(), "{wrong}");
    }
}

/// What all tools cost a session's head, on a real vocabulary and its template: they leave room
/// for a prompt within 2,500 tokens.
#[test]
fn all_tools_together_are_small() {
    use crate::chat::Message;
    use crate::chat::pieces::join;
    use crate::chat::template::{ChatTemplate, Marks, TemplateFrame};
    use crate::chat::tokenize::Tokenizer;
    use crate::llama::{Model, ModelOptions};

    let shared = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../shared"));
    let file = shared.join("vocab/ggml-vocab-qwen35.gguf");
    let Ok(source) = std::fs::read_to_string(shared.join("chat-templates/Qwen3.5-4B.jinja")) else {
        eprintln!("skipped: there is no ../shared");
        return;
    };
    let options = ModelOptions {
        vocab_only: true,
        ..ModelOptions::default()
    };
    let model = Model::load(&file, &options, &mut |_| true).unwrap();
    let tokenizer = Tokenizer::new(model.vocab().clone(), &source).unwrap();
    let chat = ChatTemplate::new(&source, Marks::of(&tokenizer)).unwrap();
    let mut tools = built_in();
    tools.push(Box::new(FetchUrl::new(false)));
    let tools = Registry::new(tools).unwrap().specs_json();
    let tokens = |tools: Option<Value>| {
        let frame = TemplateFrame {
            tools,
            ..TemplateFrame::default()
        };
        let pieces = chat.opening(&frame, &[Message::user("x")]).unwrap().pieces;
        model.vocab().tokenize(&join(&pieces), true).unwrap().len()
    };
    let cost = tokens(Some(tools)) - tokens(None);
    println!("{cost} tokens");
    assert!((300..=1300).contains(&cost), "{cost} tokens");
}
