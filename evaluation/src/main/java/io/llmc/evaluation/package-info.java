// SPDX-License-Identifier: Apache-2.0
/// What a model is worth: perplexity, divergence from the original, size and speed.
package io.llmc.evaluation;
