// SPDX-License-Identifier: Apache-2.0

/// Distillation: a student learns from its teacher's predictions.
package io.llmc.distill;
