//! Frames and the socket, without a model.
