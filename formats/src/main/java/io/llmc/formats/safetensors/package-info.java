// SPDX-License-Identifier: Apache-2.0
/// Files of tensors as safetensors, read and written.
package io.llmc.formats.safetensors;
