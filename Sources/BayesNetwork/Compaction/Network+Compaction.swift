import BayesTensor

extension Network {
  /// The same graph without channels that can be left out; nodes keep their places and names.
  ///
  /// - Parameter removal: found for this network.
  /// - Throws: `NetworkError` where a layer does not take what is left, which none should.
  public func removing(_ removal: ChannelRemoval) throws(NetworkError) -> Network {
    var changed = nodes
    for index in nodes.indices {
      let count = removal.kept[index].count
      guard count < shapes[index].dimensions.last ?? 1 else { continue }
      switch nodes[index].layer {
      case var dense as Dense:
        dense.units = count
        changed[index].layer = dense
      case var convolution as Convolution:
        if convolution.groups > 1 { convolution.groups = count }
        convolution.filters = count
        changed[index].layer = convolution
      case is Reshape:
        changed[index].layer =
          shapes[index].rank == 1 ? Reshape.flatten : Reshape(target: Array(shapes[index].dimensions.dropLast()) + [count])
      default: break
      }
    }
    return try Network(nodes: changed, exits: exits)
  }

  /// Weights without those of channels that can be left out.
  ///
  /// - Parameter removal: found for this network.
  /// - Precondition: there are all parameters of the network.
  public func removing(_ removal: ChannelRemoval, from parameters: Parameters) -> Parameters {
    var result = parameters
    for index in nodes.indices {
      let specs = parameterSpecs(of: index)
      for spec in specs {
        guard let tensor = parameters[spec.path] else { preconditionFailure("There is no parameter \(spec.path).") }
        var smaller = tensor
        if let input = nodes[index].inputs.first, channelEffect(of: index) == .mixes, tensor.shape.rank > 1 {
          smaller = smaller.selecting(removal.kept[input], ofAxis: tensor.shape.rank - 2)
        }
        if nodes[index].layer is any MatrixLayer || nodes[index].layer is BatchNormalization {
          smaller = smaller.selecting(removal.kept[index], ofAxis: tensor.shape.rank - 1)
        }
        result[spec.path] = smaller
      }
    }
    return result
  }
}

extension FrozenNetwork {
  /// The network without channels that can be left out; its exits are the same but for rounding.
  ///
  /// - Throws: as `Network.removing(_:)`.
  public func removing(_ removal: ChannelRemoval) throws(NetworkError) -> FrozenNetwork {
    try FrozenNetwork(network.removing(removal), parameters: network.removing(removal, from: parameters))
  }
}

extension Tensor {
  /// Some positions along an axis.
  fileprivate func selecting(_ positions: [Int], ofAxis axis: Int) -> Tensor {
    guard positions.count < shape[axis] else { return self }
    let inner = shape.dimensions[(axis + 1)...].reduce(1, *)
    let outer = shape.dimensions[..<axis].reduce(1, *)
    var dimensions = shape.dimensions
    dimensions[axis] = positions.count
    var elements = ContiguousArray<Scalar>()
    elements.reserveCapacity(outer * positions.count * inner)
    for block in 0..<outer {
      for position in positions {
        let start = (block * shape[axis] + position) * inner
        elements.append(contentsOf: self.elements[start..<start + inner])
      }
    }
    return Tensor(shape: Shape(dimensions), elements: elements)
  }
}
