// SPDX-License-Identifier: Apache-2.0
/// Models in a GGUF file, the format of llama.cpp: read, not written.
///
/// @see <a href="https://github.com/ggml-org/ggml/blob/master/docs/gguf.md">GGUF</a>
package io.llmc.formats.gguf;
