// SPDX-License-Identifier: Apache-2.0
/// What each part of a compressed model costs: put into the original by itself.
package io.llmc.evaluation.blame;
