//! The reader: keys and tensor descriptions of one file, without its tensor data.

use std::{
    ffi::CStr,
    path::{Path, PathBuf},
    ptr, slice,
};

use llama_cpp_sys_2 as sys;

use super::check::check;
use super::error::{GgufError, c_path};
use crate::llama::log;

/// A value in a file's metadata.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// Any unsigned integer type.
    Unsigned(u64),
    /// Any signed integer type.
    Signed(i64),
    /// Both float types. An f32 is widened, so equal bits stay equal.
    Float(f64),
    /// A truth value.
    Bool(bool),
    /// A string; bytes that are not UTF-8 are replaced.
    Text(String),
    /// An array, by its element type's name and its length.
    Array {
        /// "str", "i32", "f32", …
        of: &'static str,
        /// Elements.
        len: usize,
    },
}

/// One tensor's description.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorInfo {
    /// Its name, at most 63 bytes.
    pub name: String,
    /// Its type in ggml's words: "f16", "q8_0", …
    pub kind: &'static str,
    /// Elements by dimension in ggml's order (ne0, the contiguous one, first).
    pub dims: [u64; 4],
    /// Where its data begin, in bytes from the start of the file.
    pub offset: u64,
    /// Size of its data in bytes.
    pub bytes: u64,
}

/// An open GGUF file. Only the header is in memory.
pub struct GgufReader {
    ctx: *mut sys::gguf_context,
    path: PathBuf,
    tensors: Vec<TensorInfo>,
}

// SAFETY: the context is only read after `open`, and ggml's getters write nothing.
unsafe impl Send for GgufReader {}
unsafe impl Sync for GgufReader {}

impl GgufReader {
    /// Reads the header of `path`. A file that is no GGUF, is damaged, is cut short (its tensor
    /// data included) or makes absurd claims is an error.
    pub fn open(path: &Path) -> Result<GgufReader, GgufError> {
        log::install();
        let length = check(path)?;
        let c_path = c_path(path)?;
        let params = sys::gguf_init_params {
            no_alloc: true,
            ctx: ptr::null_mut(),
        };
        log::start_capture();
        // SAFETY: the path ends in NUL; without `ctx` no tensor is created.
        let ctx = unsafe { sys::gguf_init_from_file(c_path.as_ptr(), params) };
        if ctx.is_null() {
            let why = log::first_error().map_or(String::new(), |why| format!(": {why}"));
            let reason = format!("ggml refuses its header{why}");
            return Err(GgufError::malformed(path, reason));
        }
        let mut reader = GgufReader {
            ctx,
            path: path.to_owned(),
            tensors: Vec::new(),
        };
        reader.tensors = reader.read_tensors(length)?;
        Ok(reader)
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where the tensor data begin, in bytes from the start of the file.
    pub fn data_offset(&self) -> u64 {
        // SAFETY: the context is valid while `self` lives; so in all that follows.
        unsafe { sys::gguf_get_data_offset(self.ctx) as u64 }
    }

    /// All tensors in file order.
    pub fn tensors(&self) -> &[TensorInfo] {
        &self.tensors
    }

    /// All keys with their values, in file order.
    pub fn entries(&self) -> impl Iterator<Item = (String, Value)> + '_ {
        let count = unsafe { sys::gguf_get_n_kv(self.ctx) };
        (0..count).map(|id| {
            let key = unsafe { text(sys::gguf_get_key(self.ctx, id)) };
            (key, self.value(id))
        })
    }

    /// The value of a key.
    pub fn get(&self, key: &str) -> Option<Value> {
        self.find(key).map(|id| self.value(id))
    }

    /// The value of a key that holds a string.
    pub fn text(&self, key: &str) -> Option<String> {
        match self.get(key)? {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The value of a key that holds an integer that is not negative.
    pub fn number(&self, key: &str) -> Option<u64> {
        match self.get(key)? {
            Value::Unsigned(number) => Some(number),
            Value::Signed(number) => u64::try_from(number).ok(),
            _ => None,
        }
    }

    /// The elements of an array of strings, as llama.cpp sees them: without what follows a NUL.
    pub fn strings(&self, key: &str) -> Option<impl Iterator<Item = &[u8]> + '_> {
        let id = self.array(key)?;
        unsafe {
            if sys::gguf_get_arr_type(self.ctx, id) != sys::GGUF_TYPE_STRING {
                return None;
            }
            let count = sys::gguf_get_arr_n(self.ctx, id);
            Some((0..count).map(move |index| {
                CStr::from_ptr(sys::gguf_get_arr_str(self.ctx, id, index)).to_bytes()
            }))
        }
    }

    /// The bytes of an array of numbers.
    pub fn array_bytes(&self, key: &str) -> Option<&[u8]> {
        let id = self.array(key)?;
        unsafe {
            let size = match sys::gguf_get_arr_type(self.ctx, id) {
                sys::GGUF_TYPE_UINT8 | sys::GGUF_TYPE_INT8 | sys::GGUF_TYPE_BOOL => 1,
                sys::GGUF_TYPE_UINT16 | sys::GGUF_TYPE_INT16 => 2,
                sys::GGUF_TYPE_UINT32 | sys::GGUF_TYPE_INT32 | sys::GGUF_TYPE_FLOAT32 => 4,
                sys::GGUF_TYPE_UINT64 | sys::GGUF_TYPE_INT64 | sys::GGUF_TYPE_FLOAT64 => 8,
                _ => return None,
            };
            let bytes = sys::gguf_get_arr_n(self.ctx, id) * size;
            if bytes == 0 {
                return Some(&[]);
            }
            let data = sys::gguf_get_arr_data(self.ctx, id).cast::<u8>();
            Some(slice::from_raw_parts(data, bytes))
        }
    }

    /// The id of a key, compared in Rust: ggml's search wants a NUL-terminated string.
    fn find(&self, key: &str) -> Option<i64> {
        let count = unsafe { sys::gguf_get_n_kv(self.ctx) };
        (0..count).find(|&id| unsafe {
            CStr::from_ptr(sys::gguf_get_key(self.ctx, id)).to_bytes() == key.as_bytes()
        })
    }

    fn array(&self, key: &str) -> Option<i64> {
        self.find(key)
            .filter(|&id| unsafe { sys::gguf_get_kv_type(self.ctx, id) } == sys::GGUF_TYPE_ARRAY)
    }

    /// Each getter asserts that the key has its type: the match keeps to that.
    fn value(&self, id: i64) -> Value {
        let ctx = self.ctx;
        unsafe {
            match sys::gguf_get_kv_type(ctx, id) {
                sys::GGUF_TYPE_UINT8 => Value::Unsigned(sys::gguf_get_val_u8(ctx, id).into()),
                sys::GGUF_TYPE_UINT16 => Value::Unsigned(sys::gguf_get_val_u16(ctx, id).into()),
                sys::GGUF_TYPE_UINT32 => Value::Unsigned(sys::gguf_get_val_u32(ctx, id).into()),
                sys::GGUF_TYPE_UINT64 => Value::Unsigned(sys::gguf_get_val_u64(ctx, id)),
                sys::GGUF_TYPE_INT8 => Value::Signed(sys::gguf_get_val_i8(ctx, id).into()),
                sys::GGUF_TYPE_INT16 => Value::Signed(sys::gguf_get_val_i16(ctx, id).into()),
                sys::GGUF_TYPE_INT32 => Value::Signed(sys::gguf_get_val_i32(ctx, id).into()),
                sys::GGUF_TYPE_INT64 => Value::Signed(sys::gguf_get_val_i64(ctx, id)),
                sys::GGUF_TYPE_FLOAT32 => Value::Float(sys::gguf_get_val_f32(ctx, id).into()),
                sys::GGUF_TYPE_FLOAT64 => Value::Float(sys::gguf_get_val_f64(ctx, id)),
                sys::GGUF_TYPE_BOOL => Value::Bool(sys::gguf_get_val_bool(ctx, id)),
                sys::GGUF_TYPE_STRING => Value::Text(text(sys::gguf_get_val_str(ctx, id))),
                // What is left is an array: ggml refuses unknown types when it opens a file.
                _ => Value::Array {
                    of: name(sys::gguf_type_name(sys::gguf_get_arr_type(ctx, id))),
                    len: sys::gguf_get_arr_n(ctx, id),
                },
            }
        }
    }

    fn read_tensors(&self, length: u64) -> Result<Vec<TensorInfo>, GgufError> {
        let data = self.data_offset();
        let count = unsafe { sys::gguf_get_n_tensors(self.ctx) };
        let mut tensors = Vec::with_capacity(count as usize);
        for id in 0..count {
            // SAFETY: `id` is in range; ne points at four numbers of the context.
            let (info, within) = unsafe {
                let ne = &*sys::gguf_get_tensor_ne(self.ctx, id).cast::<[i64; 4]>();
                let within = sys::gguf_get_tensor_offset(self.ctx, id) as u64;
                let info = TensorInfo {
                    name: text(sys::gguf_get_tensor_name(self.ctx, id)),
                    kind: name(sys::ggml_type_name(sys::gguf_get_tensor_type(self.ctx, id))),
                    dims: ne.map(|dim| dim as u64),
                    offset: data.saturating_add(within),
                    bytes: sys::gguf_get_tensor_size(self.ctx, id) as u64,
                };
                (info, within)
            };
            let end = data
                .checked_add(within)
                .and_then(|start| start.checked_add(info.bytes));
            if end.is_none_or(|end| end > length) {
                let reason = format!("the data of tensor {:?} are cut short", info.name);
                return Err(GgufError::malformed(&self.path, reason));
            }
            tensors.push(info);
        }
        Ok(tensors)
    }
}

impl Drop for GgufReader {
    fn drop(&mut self) {
        // SAFETY: made by gguf_init_from_file, freed once.
        unsafe { sys::gguf_free(self.ctx) };
    }
}

/// # Safety
/// `pointer` is a NUL-terminated string.
unsafe fn text(pointer: *const std::ffi::c_char) -> String {
    let bytes = unsafe { CStr::from_ptr(pointer) };
    bytes.to_string_lossy().into_owned()
}

/// # Safety
/// `pointer` is null or a NUL-terminated string that lives as long as the program.
unsafe fn name(pointer: *const std::ffi::c_char) -> &'static str {
    if pointer.is_null() {
        return "unknown";
    }
    let bytes: &'static CStr = unsafe { CStr::from_ptr(pointer) };
    bytes.to_str().unwrap_or("unknown")
}
