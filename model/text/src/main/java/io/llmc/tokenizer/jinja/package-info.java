// SPDX-License-Identifier: Apache-2.0
/// The part of Jinja that chat templates are written in, exactly as Jinja 3 and transformers have
/// it; what is not known is an error and never a guess. A template reaches only the values that it
/// is given: nothing here reads files, loads classes or reflects.
package io.llmc.tokenizer.jinja;
