// SPDX-License-Identifier: Apache-2.0
/// The formats of compressed-tensors, as vLLM and transformers read them.
package io.llmc.formats.compressed;
