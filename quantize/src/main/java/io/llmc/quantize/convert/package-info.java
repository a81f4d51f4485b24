// SPDX-License-Identifier: Apache-2.0
/// Packed models in other spellings.
package io.llmc.quantize.convert;
