// SPDX-License-Identifier: Apache-2.0
/// Questions with known answers, from local files, as lm-eval asks and scores them.
package io.llmc.evaluation.tasks;
