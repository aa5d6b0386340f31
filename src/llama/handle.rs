//! The one owner of a loaded model: the last holder frees it.

use llama_cpp_sys_2 as sys;

/// A loaded model of llama.cpp.
pub(super) struct ModelHandle(pub(super) *mut sys::llama_model);

// SAFETY: a loaded model is only read; contexts that use it keep their own state.
unsafe impl Send for ModelHandle {}
unsafe impl Sync for ModelHandle {}

impl Drop for ModelHandle {
    fn drop(&mut self) {
        // SAFETY: loaded by us, freed once; contexts and vocabularies hold an Arc of this handle.
        unsafe { sys::llama_model_free(self.0) }
    }
}
