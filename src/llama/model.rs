//! A loaded model: weights, vocabulary, metadata. Read-only, shared between threads.

use std::ffi::{CString, c_void};
use std::panic::resume_unwind;
use std::path::{Path, PathBuf};
use std::ptr;
use std::sync::Arc;

use crossbeam_channel::bounded as channel;
use llama_cpp_sys_2 as sys;
use serde::{Deserialize, Serialize};

use super::handle::ModelHandle;
use super::{Vocab, backend, log};

/// Where the weights go. Defaults are llama.cpp's own.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct ModelOptions {
    /// Layers to put on GPUs; `None` puts all there that there are.
    pub gpu_layers: Option<u32>,
    /// The GPU used when the model is not split.
    pub main_gpu: u32,
    /// Share of the model for each GPU; empty lets llama.cpp decide.
    pub tensor_split: Vec<f32>,
    /// `(regular expression over tensor names, buffer type)`, as in `--override-tensor`.
    pub override_tensor: Vec<(String, String)>,
    /// Mixture-of-experts weights of the first n layers stay in the CPU's memory.
    pub cpu_moe_layers: u32,
    /// Read the file instead of mapping it.
    pub no_mmap: bool,
    /// Load the vocabulary and the metadata, no weights.
    pub vocab_only: bool,
}

/// Why a model was not loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The path cannot be handed to a C library.
    #[error("the path {0} holds a NUL byte")]
    Path(PathBuf),
    /// No such file, or it may not be read.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// The error of the operating system.
        source: std::io::Error,
    },
    /// An `--override-tensor` names a buffer type that no device has.
    #[error("no buffer type is called {name}; there are {known}")]
    Buffer {
        /// As given.
        name: String,
        /// What could be given.
        known: String,
    },
    /// More values than devices or overrides than llama.cpp takes.
    #[error("{0}")]
    Options(String),
    /// llama.cpp refused the file.
    #[error("{path} was not loaded: {reason}")]
    Refused {
        /// The file.
        path: PathBuf,
        /// llama.cpp's last error line.
        reason: String,
    },
    /// The operating system gives no thread to load it on.
    #[error("no thread can be started to load the model: {0}")]
    Thread(std::io::Error),
    /// The progress callback returned false.
    #[error("loading {0} was interrupted")]
    Interrupted(PathBuf),
}

/// A loaded model.
pub struct Model {
    pub(super) handle: Arc<ModelHandle>,
    vocab: Vocab,
    path: PathBuf,
}

type LoadProgress<'a> = dyn FnMut(f32) -> bool + 'a;

unsafe extern "C" fn on_progress(done: f32, data: *mut c_void) -> bool {
    // SAFETY: `data` is the closure reference that `Model::load` keeps alive during the call.
    let progress = unsafe { &mut *data.cast::<&mut LoadProgress<'_>>() };
    // A panic must not cross into C++; it aborts the load instead.
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| progress(done))).unwrap_or(false)
}

impl Model {
    /// Loads a GGUF file (the first of a split one). `progress` is called with values from 0 to 1
    /// on this thread; returning false stops the load.
    ///
    /// The weights are loaded on a thread that ends. llama.cpp may rearrange them (for AMX) in a team of OpenMP
    /// threads, and OpenMP keeps the team of a thread for as long as that thread lives. With a second team beside
    /// the one that decodes there may be more such threads than processors. Then GCC's OpenMP no longer waits in
    /// a loop but in the kernel, at each of the hundred and more barriers of a token: on two processors a token
    /// took 5.1 ms, and 3.5 ms with one team.
    ///
    /// # Errors
    /// See [`LoadError`]; llama.cpp's last error line is the reason of a refusal.
    pub fn load(
        path: &Path,
        options: &ModelOptions,
        progress: &mut LoadProgress<'_>,
    ) -> Result<Model, LoadError> {
        let (tell, told) = channel::<f32>(0);
        let (answer, answered) = channel::<bool>(0);
        std::thread::scope(|scope| {
            // Where `progress` panics, both are dropped here, and the load stops.
            let (told, answer) = (told, answer);
            let load = move || {
                let mut progress = |done| tell.send(done).is_ok() && answered.recv() == Ok(true);
                Model::load_or_plan(path, options, false, &mut progress)
            };
            let thread = std::thread::Builder::new().name("npast-load".into());
            let loading = thread
                .spawn_scoped(scope, load)
                .map_err(LoadError::Thread)?;
            while let Ok(done) = told.recv() {
                let _ = answer.send(progress(done));
            }
            loading.join().unwrap_or_else(|fault| resume_unwind(fault))
        })
    }

    /// The model without its weights: it says what it is, and its contexts say what they would
    /// take ([`Context::takes`](super::Context::takes)). Nothing can be decoded with it.
    ///
    /// # Errors
    /// As [`Model::load`].
    pub fn plan(path: &Path, options: &ModelOptions) -> Result<Model, LoadError> {
        Model::load_or_plan(path, options, true, &mut |_| true)
    }

    fn load_or_plan(
        path: &Path,
        options: &ModelOptions,
        plan: bool,
        progress: &mut LoadProgress<'_>,
    ) -> Result<Model, LoadError> {
        backend::start();
        std::fs::File::open(path).map_err(|source| LoadError::Io {
            path: path.to_owned(),
            source,
        })?;
        let c_path = CString::new(path.as_os_str().as_encoded_bytes())
            .map_err(|_| LoadError::Path(path.to_owned()))?;

        // SAFETY: returns a plain struct.
        let mut params = unsafe { sys::llama_model_default_params() };
        params.n_gpu_layers = options.gpu_layers.map_or(-1, |n| n as i32);
        params.main_gpu = options.main_gpu as i32;
        params.vocab_only = options.vocab_only;
        params.no_alloc = plan;
        // What is not read cannot be mapped.
        if options.no_mmap || plan {
            params.load_mode = sys::LLAMA_LOAD_MODE_NONE;
        }
        let split = tensor_split(&options.tensor_split)?;
        if let Some(split) = &split {
            params.tensor_split = split.as_ptr();
        }
        let overrides = Overrides::new(options)?;
        params.tensor_buft_overrides = overrides.as_ptr();

        let mut stopped = false;
        let mut watch = |done: f32| {
            let go_on = progress(done);
            stopped |= !go_on;
            go_on
        };
        let mut callback: &mut LoadProgress<'_> = &mut watch;
        params.progress_callback = Some(on_progress);
        params.progress_callback_user_data = (&raw mut callback).cast();

        log::start_capture();
        // SAFETY: every pointer in `params` outlives the call.
        let model = unsafe { sys::llama_model_load_from_file(c_path.as_ptr(), params) };
        if model.is_null() {
            if stopped {
                return Err(LoadError::Interrupted(path.to_owned()));
            }
            return Err(LoadError::Refused {
                path: path.to_owned(),
                reason: log::captured_error()
                    .unwrap_or_else(|| "llama.cpp gave no reason".to_owned()),
            });
        }
        let handle = Arc::new(ModelHandle(model));
        Ok(Model {
            vocab: Vocab::of(&handle),
            handle,
            path: path.to_owned(),
        })
    }

    /// The file it came from.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its vocabulary.
    pub fn vocab(&self) -> &Vocab {
        &self.vocab
    }

    /// A scalar or string of the file's metadata.
    pub fn meta(&self, key: &str) -> Option<String> {
        let key = CString::new(key).ok()?;
        let mut room = 256usize;
        loop {
            let mut bytes = vec![0u8; room];
            // SAFETY: the buffer has `room` bytes; llama.cpp writes a NUL within them.
            let n = unsafe {
                sys::llama_model_meta_val_str(
                    self.handle.0,
                    key.as_ptr(),
                    bytes.as_mut_ptr().cast(),
                    room,
                )
            };
            let len = usize::try_from(n).ok()?;
            if len < room {
                bytes.truncate(len);
                return Some(String::from_utf8_lossy(&bytes).into_owned());
            }
            room = len + 1;
        }
    }

    /// The chat template in the file, by name (`None` for the default one).
    pub fn chat_template(&self, name: Option<&str>) -> Option<String> {
        match name {
            None => self.meta("tokenizer.chat_template"),
            Some(name) => self.meta(&format!("tokenizer.chat_template.{name}")),
        }
    }

    /// The architecture's name, such as `qwen3`.
    pub fn architecture(&self) -> String {
        self.meta("general.architecture").unwrap_or_default()
    }

    /// llama.cpp's short description, such as `qwen3 8B Q4_K - Medium`.
    pub fn description(&self) -> String {
        let mut bytes = [0u8; 256];
        // SAFETY: the buffer has 256 bytes.
        unsafe { sys::llama_model_desc(self.handle.0, bytes.as_mut_ptr().cast(), bytes.len()) };
        let end = bytes.iter().position(|b| *b == 0).unwrap_or(bytes.len());
        String::from_utf8_lossy(&bytes[..end]).into_owned()
    }

    /// Bytes of all tensors.
    pub fn bytes(&self) -> u64 {
        unsafe { sys::llama_model_size(self.handle.0) }
    }

    /// Number of parameters.
    pub fn parameters(&self) -> u64 {
        unsafe { sys::llama_model_n_params(self.handle.0) }
    }

    /// The context, in tokens, that the model was trained with.
    pub fn trained_context(&self) -> usize {
        unsafe { sys::llama_model_n_ctx_train(self.handle.0) }.max(0) as usize
    }

    /// Number of layers.
    pub fn layers(&self) -> usize {
        unsafe { sys::llama_model_n_layer(self.handle.0) }.max(0) as usize
    }

    /// Tokens in the sliding window, 0 without one.
    pub fn window(&self) -> usize {
        unsafe { sys::llama_model_n_swa(self.handle.0) }.max(0) as usize
    }

    /// Whether it keeps only recurrent state (Mamba, RWKV).
    pub fn is_recurrent(&self) -> bool {
        unsafe { sys::llama_model_is_recurrent(self.handle.0) }
    }

    /// Whether it keeps both recurrent state and KV.
    pub fn is_hybrid(&self) -> bool {
        unsafe { sys::llama_model_is_hybrid(self.handle.0) }
    }

    /// Whether it can be used to chat: it decodes and has no encoder.
    pub fn generates(&self) -> bool {
        unsafe {
            sys::llama_model_has_decoder(self.handle.0)
                && !sys::llama_model_has_encoder(self.handle.0)
                && !sys::llama_model_is_diffusion(self.handle.0)
        }
    }
}

/// llama.cpp reads as many floats as it knows devices, whatever was given.
fn tensor_split(given: &[f32]) -> Result<Option<Vec<f32>>, LoadError> {
    if given.is_empty() {
        return Ok(None);
    }
    // SAFETY: plain query.
    let max = unsafe { sys::llama_max_devices() };
    if given.len() > max {
        return Err(LoadError::Options(format!(
            "--tensor-split names {} devices, llama.cpp knows at most {max}",
            given.len()
        )));
    }
    let mut split = given.to_vec();
    split.resize(max, 0.0);
    Ok(Some(split))
}

/// The null-terminated array llama.cpp wants, with the patterns it points to.
struct Overrides {
    rows: Vec<sys::llama_model_tensor_buft_override>,
    _patterns: Vec<CString>,
}

impl Overrides {
    fn new(options: &ModelOptions) -> Result<Overrides, LoadError> {
        let mut pairs = Vec::new();
        for (pattern, name) in &options.override_tensor {
            pairs.push((pattern.clone(), buffer_type(name)?));
        }
        // SAFETY: plain query.
        let cpu = unsafe { sys::ggml_backend_cpu_buffer_type() };
        for layer in 0..options.cpu_moe_layers {
            pairs.push((
                format!(r"blk\.{layer}\.ffn_(up|down|gate|gate_up)_(ch|)exps"),
                cpu,
            ));
        }
        // SAFETY: plain query.
        let max = unsafe { sys::llama_max_tensor_buft_overrides() };
        if pairs.len() >= max {
            return Err(LoadError::Options(format!(
                "{} tensor overrides are more than llama.cpp takes ({max})",
                pairs.len()
            )));
        }
        let mut patterns = Vec::new();
        let mut rows = Vec::new();
        for (pattern, buft) in pairs {
            let pattern = CString::new(pattern)
                .map_err(|_| LoadError::Options("a tensor pattern holds a NUL byte".to_owned()))?;
            let row = sys::llama_model_tensor_buft_override {
                pattern: pattern.as_ptr(),
                buft,
            };
            rows.push(row);
            patterns.push(pattern);
        }
        if !rows.is_empty() {
            rows.push(sys::llama_model_tensor_buft_override {
                pattern: ptr::null(),
                buft: ptr::null_mut(),
            });
        }
        Ok(Overrides {
            rows,
            _patterns: patterns,
        })
    }

    fn as_ptr(&self) -> *const sys::llama_model_tensor_buft_override {
        if self.rows.is_empty() {
            ptr::null()
        } else {
            self.rows.as_ptr()
        }
    }
}

fn buffer_type(name: &str) -> Result<sys::ggml_backend_buffer_type_t, LoadError> {
    let mut known = Vec::new();
    // SAFETY: indices are below the count; names are static strings.
    unsafe {
        for i in 0..sys::ggml_backend_dev_count() {
            let buft = sys::ggml_backend_dev_buffer_type(sys::ggml_backend_dev_get(i));
            if buft.is_null() {
                continue;
            }
            let its = super::text::text(sys::ggml_backend_buft_name(buft));
            if its == name {
                return Ok(buft);
            }
            known.push(its);
        }
    }
    Err(LoadError::Buffer {
        name: name.to_owned(),
        known: known.join(", "),
    })
}
