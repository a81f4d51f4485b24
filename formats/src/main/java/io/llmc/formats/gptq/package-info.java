// SPDX-License-Identifier: Apache-2.0
/// GPTQ checkpoints as GPTQModel spells them.
package io.llmc.formats.gptq;
