//! Starts llama.cpp once per process, and reads what it knows of the machine.

use std::ffi::CString;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use llama_cpp_2::llama_backend::LlamaBackend;
use llama_cpp_sys_2 as sys;

use super::log;
use super::text::text;

/// A compute device as ggml names it.
#[derive(Clone, Debug)]
pub struct Device {
    /// Short name, such as `CUDA0` or `CPU`.
    pub name: String,
    /// What people call it.
    pub description: String,
    /// Whether layers can be offloaded to it.
    pub gpu: bool,
    /// Its memory is the host's.
    pub integrated: bool,
    /// Bytes free and in total, as the driver says (zero when it does not say).
    pub memory: (u64, u64),
}

/// Starts llama.cpp; cheap when it runs already.
pub(super) fn start() {
    static STARTED: OnceLock<Option<LlamaBackend>> = OnceLock::new();
    STARTED.get_or_init(|| {
        log::install();
        let backend = LlamaBackend::init().ok();
        if let Some(folder) = backend_folder()
            && let Ok(folder) = CString::new(folder.as_os_str().as_encoded_bytes())
        {
            // With a folder given, ggml loads from it alone. Without one it would also load
            // libraries from the working folder, which may be a stranger's repository.
            // SAFETY: the string ends in NUL and is only read.
            unsafe { sys::ggml_backend_load_all_from_path(folder.as_ptr()) }
        }
        backend
    });
}

/// Whether a build with `dynamic-backends` finds no backend library, so that nothing could be
/// computed.
pub fn backends_missing() -> bool {
    cfg!(feature = "dynamic-backends") && backend_folder().is_none()
}

/// The folder of backend libraries of a build with `dynamic-backends`: the program's own, else
/// `../lib/npast` beside it (where a package has them), else the folder of the build.
fn backend_folder() -> Option<PathBuf> {
    if !cfg!(feature = "dynamic-backends") {
        return None;
    }
    let program = std::env::current_exe().ok()?.canonicalize().ok()?;
    let beside = program.parent()?;
    [
        Some(beside.to_owned()),
        beside.parent().map(|up| up.join("lib/npast")),
        option_env!("NPAST_BACKENDS").map(PathBuf::from),
    ]
    .into_iter()
    .flatten()
    .find(|folder| has_cpu_backend(folder))
}

/// Whether a library for the CPU is in this folder, such as `libggml-cpu-haswell.so`.
fn has_cpu_backend(folder: &Path) -> bool {
    let name = |entry: std::io::Result<std::fs::DirEntry>| Some(entry.ok()?.file_name());
    std::fs::read_dir(folder).is_ok_and(|entries| {
        entries
            .filter_map(name)
            .any(|name| name.to_string_lossy().contains("ggml-cpu"))
    })
}

/// The devices llama.cpp can use, in its order.
pub fn devices() -> Vec<Device> {
    start();
    // SAFETY: indices are below the count; the strings are static.
    unsafe {
        (0..sys::ggml_backend_dev_count())
            .map(|i| {
                let dev = sys::ggml_backend_dev_get(i);
                let (mut free, mut total) = (0usize, 0usize);
                sys::ggml_backend_dev_memory(dev, &mut free, &mut total);
                let kind = sys::ggml_backend_dev_type(dev);
                Device {
                    name: text(sys::ggml_backend_dev_name(dev)),
                    description: text(sys::ggml_backend_dev_description(dev)),
                    gpu: kind == sys::GGML_BACKEND_DEVICE_TYPE_GPU
                        || kind == sys::GGML_BACKEND_DEVICE_TYPE_IGPU,
                    integrated: kind == sys::GGML_BACKEND_DEVICE_TYPE_IGPU,
                    memory: (free as u64, total as u64),
                }
            })
            .collect()
    }
}

/// The backends this binary was built with (or found beside it), such as `CPU` and `CUDA`.
pub fn backends() -> Vec<String> {
    start();
    // SAFETY: indices are below the count; the strings are static.
    unsafe {
        (0..sys::ggml_backend_reg_count())
            .map(|i| text(sys::ggml_backend_reg_name(sys::ggml_backend_reg_get(i))))
            .collect()
    }
}

/// llama.cpp's own line about CPU features and build options.
pub fn system_info() -> &'static str {
    static INFO: OnceLock<String> = OnceLock::new();
    INFO.get_or_init(|| {
        start();
        // SAFETY: returns a string of its own, which each call writes anew: here there is one call.
        text(unsafe { sys::llama_print_system_info() })
    })
}

/// A CPU feature that this build uses and this machine lacks, if any. Asked before anything else
/// runs: the alternative is a SIGILL.
pub fn cpu_lacks() -> Option<&'static str> {
    #[cfg(target_arch = "x86_64")]
    {
        macro_rules! need {
            ($($feature:tt),*) => {$(
                if cfg!(target_feature = $feature) && !std::arch::is_x86_feature_detected!($feature) {
                    return Some($feature);
                }
            )*};
        }
        need!(
            "sse4.2", "avx", "avx2", "fma", "f16c", "bmi2", "avx512f", "avx512bw", "avx512vl"
        );
        need!("avx512dq", "avx512vbmi", "avx512vnni", "avx512bf16");
    }
    None
}
