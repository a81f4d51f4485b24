/// Decoding: a model that goes on where it stopped, with the keys and values of earlier tokens in
/// pages.
package io.llmc.model.decoding;
