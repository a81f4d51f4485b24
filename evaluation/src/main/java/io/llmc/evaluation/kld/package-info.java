// SPDX-License-Identifier: Apache-2.0
/// Base files of llama.cpp: a model's predictions for a text, kept so that others can be compared
/// with them.
package io.llmc.evaluation.kld;
