// SPDX-License-Identifier: Apache-2.0
/// A model whose parameters move, and how they become a checkpoint again.
package io.llmc.distill.student;
