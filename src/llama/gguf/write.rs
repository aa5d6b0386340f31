//! The writer: keys and tensors collected in a `gguf_context`, written in one go.

use std::{collections::HashSet, ffi::CString, fs, path::Path, ptr};

use llama_cpp_sys_2 as sys;

use super::error::{GgufError, c_path};
use crate::llama::log;

/// A tensor's element type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Type {
    /// 32-bit float.
    F32,
    /// 16-bit float.
    F16,
    /// bfloat16.
    Bf16,
    /// Blocks of 32 signed bytes after one f16 scale: 34 bytes.
    Q8_0,
    /// 32-bit integer.
    I32,
}

impl Type {
    fn ggml(self) -> sys::ggml_type {
        match self {
            Self::F32 => sys::GGML_TYPE_F32,
            Self::F16 => sys::GGML_TYPE_F16,
            Self::Bf16 => sys::GGML_TYPE_BF16,
            Self::Q8_0 => sys::GGML_TYPE_Q8_0,
            Self::I32 => sys::GGML_TYPE_I32,
        }
    }

    /// Elements per block, bytes per block.
    pub const fn block(self) -> (usize, usize) {
        match self {
            Self::F32 | Self::I32 => (1, 4),
            Self::F16 | Self::Bf16 => (1, 2),
            Self::Q8_0 => (32, 34),
        }
    }
}

/// A GGUF file in the making. Setting a key again replaces it.
pub struct GgufWriter {
    ctx: *mut sys::gguf_context,
    names: HashSet<String>,
    // `ctx` points into these buffers until it is freed.
    data: Vec<Vec<u8>>,
    /// Bytes of the data section, padding counted.
    data_len: u64,
}

// The context is owned by this value alone and has no thread affinity.
unsafe impl Send for GgufWriter {}

impl GgufWriter {
    /// An empty file whose `general.architecture` is `arch`.
    pub fn new(arch: &str) -> Result<Self, GgufError> {
        log::install();
        // SAFETY: allocates and returns a fresh context.
        let ctx = unsafe { sys::gguf_init_empty() };
        let mut writer = Self {
            ctx,
            names: HashSet::new(),
            data: Vec::new(),
            data_len: 0,
        };
        writer.set_str("general.architecture", arch)?;
        Ok(writer)
    }

    /// Sets a string.
    pub fn set_str(&mut self, key: &str, value: &str) -> Result<(), GgufError> {
        let (c_key, c_value) = (checked_key(key)?, c_text(key, value)?);
        // SAFETY: both strings end in NUL and are copied.
        unsafe { sys::gguf_set_val_str(self.ctx, c_key.as_ptr(), c_value.as_ptr()) };
        Ok(())
    }

    /// Sets an unsigned integer.
    pub fn set_u32(&mut self, key: &str, value: u32) -> Result<(), GgufError> {
        let key = checked_key(key)?;
        // SAFETY: the key ends in NUL and is copied.
        unsafe { sys::gguf_set_val_u32(self.ctx, key.as_ptr(), value) };
        Ok(())
    }

    /// Sets an unsigned 16-bit integer (the type of the `split.*` keys).
    pub fn set_u16(&mut self, key: &str, value: u16) -> Result<(), GgufError> {
        let key = checked_key(key)?;
        // SAFETY: the key ends in NUL and is copied.
        unsafe { sys::gguf_set_val_u16(self.ctx, key.as_ptr(), value) };
        Ok(())
    }

    /// Sets a signed integer.
    pub fn set_i32(&mut self, key: &str, value: i32) -> Result<(), GgufError> {
        let key = checked_key(key)?;
        // SAFETY: the key ends in NUL and is copied.
        unsafe { sys::gguf_set_val_i32(self.ctx, key.as_ptr(), value) };
        Ok(())
    }

    /// Sets a float.
    pub fn set_f32(&mut self, key: &str, value: f32) -> Result<(), GgufError> {
        let key = checked_key(key)?;
        // SAFETY: the key ends in NUL and is copied.
        unsafe { sys::gguf_set_val_f32(self.ctx, key.as_ptr(), value) };
        Ok(())
    }

    /// Sets a truth value.
    pub fn set_bool(&mut self, key: &str, value: bool) -> Result<(), GgufError> {
        let key = checked_key(key)?;
        // SAFETY: the key ends in NUL and is copied.
        unsafe { sys::gguf_set_val_bool(self.ctx, key.as_ptr(), value) };
        Ok(())
    }

    /// Sets an array of strings.
    pub fn set_arr_str<S: AsRef<str>>(&mut self, key: &str, values: &[S]) -> Result<(), GgufError> {
        let c_key = checked_key(key)?;
        let texts = values
            .iter()
            .map(|value| c_text(key, value.as_ref()))
            .collect::<Result<Vec<_>, _>>()?;
        let mut pointers: Vec<_> = texts.iter().map(|text| text.as_ptr()).collect();
        // SAFETY: `pointers` holds as many live NUL-terminated strings as it says; all are copied.
        unsafe {
            sys::gguf_set_arr_str(
                self.ctx,
                c_key.as_ptr(),
                pointers.as_mut_ptr(),
                pointers.len(),
            )
        };
        Ok(())
    }

    /// Sets an array of floats.
    pub fn set_arr_f32(&mut self, key: &str, values: &[f32]) -> Result<(), GgufError> {
        self.set_array(key, sys::GGUF_TYPE_FLOAT32, values)
    }

    /// Sets an array of signed integers.
    pub fn set_arr_i32(&mut self, key: &str, values: &[i32]) -> Result<(), GgufError> {
        self.set_array(key, sys::GGUF_TYPE_INT32, values)
    }

    // Private, so that `kind` always is the GGUF type of `T`.
    fn set_array<T: Copy>(
        &mut self,
        key: &str,
        kind: sys::gguf_type,
        values: &[T],
    ) -> Result<(), GgufError> {
        let key = checked_key(key)?;
        // SAFETY: `values` has `len` elements of the size of `kind`; they are copied.
        unsafe {
            sys::gguf_set_arr_data(
                self.ctx,
                key.as_ptr(),
                kind,
                values.as_ptr().cast(),
                values.len(),
            )
        };
        Ok(())
    }

    /// Adds a tensor.
    ///
    /// `dims` is in ggml's order (ne0, the contiguous one, first), 1 to 4 of them, none zero;
    /// `data` has exactly the bytes these dimensions need, in native byte order.
    pub fn add_tensor(
        &mut self,
        name: &str,
        dims: &[usize],
        kind: Type,
        data: Vec<u8>,
    ) -> Result<(), GgufError> {
        let refuse = |reason: String| Err(GgufError::invalid(name, reason));
        // GGML_MAX_NAME is 64 with the NUL.
        if name.is_empty() || name.len() > 63 {
            return refuse("a tensor name has 1 to 63 bytes".into());
        }
        if self.names.contains(name) {
            return refuse("there is a tensor of this name already".into());
        }
        let (block, block_bytes) = kind.block();
        if dims.is_empty() || dims.len() > 4 || dims.contains(&0) || !dims[0].is_multiple_of(block)
        {
            return refuse(format!(
                "dimensions {dims:?} do not make a tensor of {kind:?}"
            ));
        }
        let bytes = dims
            .iter()
            .try_fold(1usize, |n, &dim| n.checked_mul(dim))
            .and_then(|n| (n / block).checked_mul(block_bytes))
            .filter(|&bytes| bytes < usize::MAX / 4);
        if bytes != Some(data.len()) {
            return refuse(format!(
                "dimensions {dims:?} of {kind:?} do not have {} bytes",
                data.len()
            ));
        }
        let c_name = c_text(name, name)?;
        let ne: Vec<i64> = dims.iter().map(|&dim| dim as i64).collect();
        // SAFETY: the scratch context has room for one tensor without data; gguf_add_tensor copies
        // the tensor's description, so the context may go. `data` lives as long as `self.ctx`.
        unsafe {
            let scratch = sys::ggml_init(sys::ggml_init_params {
                mem_size: 4096,
                mem_buffer: ptr::null_mut(),
                no_alloc: true,
            });
            if scratch.is_null() {
                return refuse("ggml has no memory left".into());
            }
            let tensor = sys::ggml_new_tensor(scratch, kind.ggml(), ne.len() as i32, ne.as_ptr());
            sys::ggml_set_name(tensor, c_name.as_ptr());
            sys::gguf_add_tensor(self.ctx, tensor);
            sys::ggml_free(scratch);
            sys::gguf_set_tensor_data(self.ctx, c_name.as_ptr(), data.as_ptr().cast());
        }
        self.names.insert(name.to_owned());
        self.data_len += data.len().next_multiple_of(32) as u64;
        self.data.push(data);
        Ok(())
    }

    /// Writes the file, replacing what is there. Not atomic and not synced.
    pub fn write(&self, path: &Path) -> Result<(), GgufError> {
        let c_path = c_path(path)?;
        // ggml's own message has no reason in it, so the likely one is found here.
        fs::File::create(path).map_err(GgufError::io(path))?;
        // SAFETY: the context and every tensor's data are alive.
        let (written, meta) = unsafe {
            (
                sys::gguf_write_to_file(self.ctx, c_path.as_ptr(), false),
                sys::gguf_get_meta_size(self.ctx),
            )
        };
        // ggml does not look at the result of fclose: a full disk shows only in the length.
        let length = fs::metadata(path).map_err(GgufError::io(path))?.len();
        let expected = meta as u64 + self.data_len;
        if !written || length != expected {
            return Err(GgufError::Io {
                path: path.to_owned(),
                source: std::io::Error::other(format!("{length} of {expected} bytes were written")),
            });
        }
        Ok(())
    }
}

impl Drop for GgufWriter {
    fn drop(&mut self) {
        // SAFETY: made by gguf_init_empty, freed once.
        unsafe { sys::gguf_free(self.ctx) };
    }
}

/// ggml aborts on an empty key and on a `general.alignment` it does not like.
fn checked_key(key: &str) -> Result<CString, GgufError> {
    if key.is_empty() || key == "general.alignment" {
        return Err(GgufError::invalid(
            &format!("the key {key:?}"),
            "it is empty or reserved",
        ));
    }
    c_text(key, key)
}

fn c_text(what: &str, text: &str) -> Result<CString, GgufError> {
    CString::new(text).map_err(|_| GgufError::invalid(what, "it contains a NUL byte"))
}
