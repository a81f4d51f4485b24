/// Compressing a model block by block: recipes, passes, the stream of blocks, its journal and its
/// report.
package io.llmc.pipeline;
