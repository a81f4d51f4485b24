// SPDX-License-Identifier: Apache-2.0
package io.llmc.evaluation;

/// How likely a model finds a continuation.
///
/// @param logarithm of the probability of all its tokens, in nats
/// @param greedy whether each of them was the likeliest in its place
public record Likelihood(double logarithm, boolean greedy) {}
