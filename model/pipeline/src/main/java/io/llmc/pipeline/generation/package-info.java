// SPDX-License-Identifier: Apache-2.0
/// Text from a model: which token comes next, when a text ends, and many texts at once.
package io.llmc.pipeline.generation;
