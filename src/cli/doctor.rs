//! `npast doctor`: what this build, this machine, this model and this data folder are, and what is
//! wrong with them.

use std::path::Path;

use serde_json::{Map, Value};

use super::engine::{self, load};
use super::error::Failure;
use super::interrupt::Interrupt;
use super::output::{self, ProgressLine, bytes, count};
use super::{CliContext, state, version};
use crate::agent::{Engine, EngineFacts, Notice, Options};
use crate::config::Settings;
use crate::harmless;
use crate::kv;
use crate::llama::{self, gguf};
use crate::service::{ProjectTools, Tooling, setup};

/// Titles with rows, and what is wrong.
#[derive(Default)]
struct Report {
    sections: Vec<(&'static str, Vec<(String, String)>)>,
    findings: Vec<String>,
}

impl Report {
    fn section(&mut self, title: &'static str) {
        self.sections.push((title, Vec::new()));
    }

    /// A row of the section begun last.
    fn row(&mut self, label: impl Into<String>, value: impl Into<String>) {
        if let Some((_, rows)) = self.sections.last_mut() {
            rows.push((label.into(), value.into()));
        }
    }

    fn text(&self) -> String {
        let mut text = String::new();
        for (title, rows) in &self.sections {
            text.push_str(&format!("{title}\n"));
            let width = rows.iter().map(|(l, _)| l.chars().count()).max();
            let width = width.unwrap_or(0);
            for (label, value) in rows {
                let value = harmless::line(value);
                let value = value.trim();
                text.push_str(format!("  {label:<width$}  {value}").trim_end());
                text.push('\n');
            }
            text.push('\n');
        }
        match self.findings.is_empty() {
            true => text.push_str("Nothing was found that needs care.\n"),
            false => text.push_str("To be looked at\n"),
        }
        for finding in &self.findings {
            text.push_str(&format!("  - {}\n", harmless::line(finding)));
        }
        text
    }

    /// One object; rows of the same label become a list.
    fn json(&self) -> Value {
        let mut whole = Map::new();
        for (title, rows) in &self.sections {
            let mut section: Map<String, Value> = Map::new();
            for (label, value) in rows {
                let value = Value::from(value.as_str());
                match section.get_mut(label) {
                    None => {
                        section.insert(label.clone(), value);
                    }
                    Some(Value::Array(all)) => all.push(value),
                    Some(one) => *one = Value::from(vec![one.clone(), value]),
                }
            }
            whole.insert((*title).to_owned(), Value::Object(section));
        }
        whole.insert("findings".into(), Value::from(self.findings.clone()));
        Value::Object(whole)
    }
}

/// Runs the subcommand. A model that cannot be opened is the error of the run, after the report.
pub fn run(run: &CliContext, settings: &Settings) -> Result<i32, Failure> {
    let mut report = Report::default();
    build(&mut report);
    devices(&mut report);
    folder(&mut report, &run.places.home, settings.kv_quota);
    #[cfg(unix)]
    sandbox(&mut report, run, settings);
    let opened = match engine::options(run, settings, None) {
        Ok(options) => model(&mut report, run, settings, &options),
        Err(failure) if settings.model.is_none() => {
            report.section("model");
            report.row("none", failure.message);
            Ok(())
        }
        Err(failure) => Err(failure),
    };
    let printed = match run.json {
        true => output::json::lines(&[report.json()]),
        false => output::page(&report.text()),
    };
    opened?;
    printed
}

fn build(report: &mut Report) {
    report.section("build");
    for (label, value) in version::rows() {
        report.row(label, value);
    }
}

fn devices(report: &mut Report) {
    report.section("devices");
    let mut gpus = 0;
    for device in llama::devices() {
        gpus += usize::from(device.gpu);
        let (free, total) = device.memory;
        let memory = match total {
            0 => String::new(),
            _ => format!(", {} free of {}", bytes(free), bytes(total)),
        };
        report.row(device.name, format!("{}{memory}", device.description));
    }
    let cpus = std::thread::available_parallelism().map_or(1, |n| n.get());
    report.row("CPUs", format!("{cpus} for this process"));
    if cfg!(any(feature = "cuda", feature = "vulkan", feature = "metal")) && gpus == 0 {
        report.findings.push(
            "this build can use a GPU and llama.cpp finds none: is its driver installed?".into(),
        );
    }
}

fn folder(report: &mut Report, home: &Path, quota: Option<u64>) {
    report.section("data folder");
    report.row("path", home.display().to_string());
    for (label, name) in [
        ("sessions", "npast.db"),
        ("states", "kv"),
        ("models", "models"),
    ] {
        let path = home.join(name);
        let size = state::size(&path);
        let value = match path.exists() {
            true => format!("{} in {} files", bytes(size.bytes), size.files),
            false => "none yet".to_owned(),
        };
        report.row(label, value);
        open_to_others(report, &path, name != "models");
    }
    open_to_others(report, home, true);
    report.row("quota of states", bytes(kv::quota(home, quota)));
    if let Some(free) = state::free(home) {
        report.row("free", bytes(free));
    }
}

fn open_to_others(report: &mut Report, path: &Path, private: bool) {
    let others = state::mode(path).filter(|mode| private && mode & 0o077 != 0);
    if let Some(mode) = others {
        report.findings.push(format!(
            "{} can be read by others (mode {mode:03o}): chmod go-rwx makes it private",
            path.display()
        ));
    }
}

/// What a command of the model's could not do here, tried in the temporary folder of the system.
#[cfg(unix)]
fn sandbox(report: &mut Report, run: &CliContext, settings: &Settings) {
    use crate::tools::sandbox::{self, Sandbox, SandboxRules};
    use crate::tools::{SecretOwner, Secrets};
    report.section("sandbox");
    let held = match (settings.sandbox_off, std::env::current_exe()) {
        (true, _) => "off: programs of the model run with all your rights".to_owned(),
        (false, Err(error)) => format!("none: {error}"),
        (false, Ok(program)) => {
            let temp = std::env::temp_dir();
            let variables = sandbox::environment(std::env::vars_os(), &[], &temp);
            let home = etcetera::home_dir().ok();
            let secret = Secrets::of(SecretOwner {
                home: home.as_deref(),
                data: &run.places.home,
                project: None,
                variable: &|name| std::env::var_os(name),
            });
            let rules = SandboxRules {
                write: Vec::new(),
                hidden: secret.hidden(),
                network: settings.tables.sandbox.network,
            };
            let enforced = Sandbox::new(program, variables)
                .with_rules(rules)
                .probe(&temp);
            if !enforced.holds() {
                report.findings.push(format!(
                    "programs that the model runs are not restricted ({}), so npast asks about each",
                    enforced.by
                ));
            }
            match enforced.holds_some() {
                true => format!("{enforced} ({})", enforced.by),
                false => enforced.to_string(),
            }
        }
    };
    report.row("enforced", held);
}

fn model(
    report: &mut Report,
    run: &CliContext,
    settings: &Settings,
    options: &Options,
) -> Result<(), Failure> {
    report.section("model");
    report.row("file", options.model.display().to_string());
    let file = gguf::facts(&options.model)?;
    report.row("architecture", file.architecture);
    if let Some(name) = file.name {
        report.row("name", name);
    }
    report.row(
        "tensors",
        format!(
            "{} in {} files, {}",
            file.n_tensors,
            file.n_files,
            bytes(file.bytes)
        ),
    );
    let interrupt = Interrupt::listen();
    let engine = load(
        options,
        &interrupt,
        &mut ProgressLine::here(output::bars(run)),
    )?;
    facts(report, &engine.facts(), state::free(&options.home));
    if let Some(cost) = engine.window_cost() {
        report.section("window");
        report.row("sliding window", format!("{} tokens", count(cost.window)));
        report.row(
            "laid out again",
            format!(
                "in {:.1} ms at the start of each append ({} with {} tokens in it)",
                cost.ms,
                bytes(cost.bytes as u64),
                count(cost.filled)
            ),
        );
    }
    tools(report, run, settings, &engine);
    for (text, hint) in engine.notices() {
        let hint = hint.map_or_else(String::new, |h| format!(" ({h})"));
        report.findings.push(format!("{text}{hint}"));
    }
    Ok(())
}

/// The tools that a session which starts here would have, as this model can be offered them.
fn tools(report: &mut Report, run: &CliContext, settings: &Settings, engine: &Engine) {
    let Ok(folder) = std::env::current_dir() else {
        return;
    };
    let mut live = ProjectTools::new(&run.places, &folder, settings);
    let Ok((setup, _)) = setup(&mut live, &Tooling::of(settings), None) else {
        return;
    };
    for (text, hint) in live.take_notices() {
        output::notice(&text, hint.as_deref());
    }
    let (offered, notices) = engine.offered(&setup);
    let count = |tools: Option<&Value>| tools.and_then(Value::as_array).map_or(0, Vec::len);
    report.section("tools");
    report.row(
        "offered",
        format!(
            "{} of {}",
            count(offered.as_ref()),
            count(Some(&setup.tools))
        ),
    );
    let about_tools = |(text, _): &&Notice| text.starts_with("the tool ");
    for (text, hint) in setup.notices.iter().filter(about_tools).chain(&notices) {
        let hint = hint
            .as_ref()
            .map_or_else(String::new, |h| format!(" ({h})"));
        report.findings.push(format!("{text}{hint}"));
    }
}

fn facts(report: &mut Report, facts: &EngineFacts, free: Option<u64>) {
    report.row("description", facts.description.as_str());
    report.row("vocabulary", facts.vocab.as_str());
    report.row("memory class", facts.class.as_str());
    report.row("context", format!("{} tokens", count(facts.limit)));
    report.row("fit", facts.fit.as_str());
    report.row("decode call", format!("{} tokens", count(facts.ubatch)));
    let full = facts.token_bytes as u64 * facts.limit as u64;
    report.row(
        "KV cache",
        format!(
            "{} bytes per token, {} for a full context",
            count(facts.token_bytes),
            bytes(full)
        ),
    );
    report.section("template");
    for line in &facts.template {
        let (label, value) = line.split_once(": ").unwrap_or((line, ""));
        report.row(label, value);
    }
    if facts.fallback_template {
        report.findings.push(
            "the model has no chat template that can be used, so a plain one stands in: \
             --chat-template @FILE takes its own"
                .into(),
        );
    }
    if let Some(free) = free.filter(|free| *free < full) {
        report.findings.push(format!(
            "a full context of this model needs {} on disk and {} are free: \
             a smaller --ctx, --cache-type q8_0, or --no-store",
            bytes(full),
            bytes(free)
        ));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::slot::MemoryClass;

    #[test]
    fn a_model_is_told_with_what_its_context_costs_and_what_does_not_fit() {
        let its = EngineFacts {
            cells: 0,
            snapshot_bytes: 0,
            metadata: Vec::new(),
            model: "m.gguf".into(),
            description: "qwen3 8B Q4_K".into(),
            class: MemoryClass::Dense,
            limit: 32_768,
            fit: "as asked".into(),
            token_bytes: 147_456,
            ubatch: 128,
            template: vec!["user after tool: as it is".into(), "thinking".into()],
            vocab: "151,936 tokens, BPE".into(),
            fallback_template: true,
        };
        let mut report = Report::default();
        report.section("model");
        facts(&mut report, &its, Some(1 << 30));
        assert_eq!(
            report.text(),
            "model\n  \
               description   qwen3 8B Q4_K\n  \
               vocabulary    151,936 tokens, BPE\n  \
               memory class  dense\n  \
               context       32,768 tokens\n  \
               fit           as asked\n  \
               decode call   128 tokens\n  \
               KV cache      147,456 bytes per token, 4.5 GiB for a full context\n\n\
             template\n  \
               user after tool  as it is\n  \
               thinking\n\n\
             To be looked at\n  \
               - the model has no chat template that can be used, so a plain one stands in: \
             --chat-template @FILE takes its own\n  \
               - a full context of this model needs 4.5 GiB on disk and 1.0 GiB are free: \
             a smaller --ctx, --cache-type q8_0, or --no-store\n"
        );
        let mut roomy = Report::default();
        roomy.section("model");
        let its = EngineFacts {
            fallback_template: false,
            ..its
        };
        facts(&mut roomy, &its, Some(1 << 40));
        assert!(roomy.findings.is_empty());
        assert_eq!(roomy.json()["model"]["memory class"], "dense");
        assert_eq!(roomy.json()["findings"], Value::from(Vec::<String>::new()));
    }

    #[cfg(unix)]
    #[test]
    fn a_data_folder_that_others_can_read_is_found() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let mode = |bits| {
            let bits = std::fs::Permissions::from_mode(bits);
            std::fs::set_permissions(dir.path(), bits).unwrap();
            let mut report = Report::default();
            folder(&mut report, dir.path(), Some(5 << 30));
            report.findings.len()
        };
        assert_eq!(mode(0o700), 0);
        assert_eq!(mode(0o755), 1);
    }
}
