// SPDX-License-Identifier: Apache-2.0
/// Losses, batches, the optimiser and the loop over them.
package io.llmc.distill.training;
