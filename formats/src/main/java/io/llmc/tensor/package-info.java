/// Tensors as data: element types, shapes, views and packed weights. Nothing here computes.
package io.llmc.tensor;
